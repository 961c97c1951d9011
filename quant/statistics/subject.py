"""What statistics are taken of: a network on a device, and the images it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from emqlang.grammar.diagnostics import error
from emqlang.quant.bits.menu import Choice
from emqlang.quant.determinism import generator
from emqlang.quant.networks.answers import answer, logits_of
from emqlang.quant.networks.batches import run
from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.layers import Layer, readers
from emqlang.quant.networks.nested import tensors
from emqlang.quant.networks.network import Network
from emqlang.quant.networks.signature import LABEL_KEYS
from emqlang.quant.progress import Progress
from emqlang.quant.statistics.options import StatisticsOptions
from emqlang.quant.user_code import foreign


@dataclass(frozen=True, eq=False)
class Subject:
    """A network on a device, with a menu and the images and labels that it is shown.

    images       on the CPU, (N, *shape); N is 0 where no statistic needs them
    data_labels  those of the data, on the CPU, if it has any
    """

    network: Network
    menu: tuple[Choice, ...]
    images: Tensor
    data_labels: Tensor | None
    options: StatisticsOptions
    progress: Progress

    @cached_property
    def device(self) -> torch.device:
        return torch.device(self.options.device)

    @cached_property
    def module(self) -> nn.Module:
        """The network's own module, or a copy on another device."""
        module = self.network.module
        home = next((parameter.device for parameter in module.parameters()), self.device)
        return module if home == self.device else deepcopy(module).to(self.device)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of `module`."""
        return tuple(
            Layer(layer.name, self.module.get_submodule(layer.name), layer.index)
            for layer in self.network.collection.layers
        )

    @cached_property
    def weights(self) -> tuple[nn.Parameter, ...]:
        return tuple(layer.weight for layer in self.layers)

    @cached_property
    def labels(self) -> Tensor:
        """Labels of all images. Raises E304 where they are needed and missing."""
        if self.options.loss == "self":
            return self._drawn()
        if self.data_labels is not None:
            return self.data_labels
        if callable(self.options.loss):  # it does without, or it will say so
            return torch.zeros(len(self.images), dtype=torch.long)
        raise error("E304", "the data has no labels", "take the network's own: --loss self")

    def _drawn(self) -> Tensor:
        """Labels drawn with the seed from the softmax of the network's own scores."""
        generator = self.generator("labels")
        labels = []
        for image in torch.split(self.images, 1):
            with torch.no_grad():
                labels.append(answer(self.logits(image), 1).drawn(generator))
        return torch.cat(labels)

    def logits(self, images: Tensor, module: nn.Module | None = None) -> Tensor:
        """The network's scores of a few images. Raises E308 where its forward fails."""
        batch = _like(self.network, images.to(self.device))
        return logits_of(run(module or self.module, batch, self.network.forward))

    def loss(self, logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """The sum over images of their loss: the user's own, or that of `answers`."""
        images, labels = images.to(self.device), labels.to(self.device)
        loss = self.options.loss
        if callable(loss):
            batch = images, None if self.data_labels is None else labels
            with foreign("E304", "the loss", seed=0):
                return loss(logits, batch) * len(images)
        return answer(logits, len(images), labels).loss()

    def batches(self, size: int) -> list[tuple[Tensor, Tensor]]:
        """All images with their labels, at most `size` at a time."""
        return list(
            zip(torch.split(self.images, size), torch.split(self.labels, size), strict=True)
        )

    def generator(self, purpose: str) -> torch.Generator:
        """A generator on the CPU that depends on the seed and its purpose alone."""
        return generator(purpose, self.options.seed)

    def flat(self, tensors: Sequence[Tensor]) -> Tensor:
        """Tensors of the weights' shapes as one buffer, each layer's as (C_out, fan_in)."""
        pairs = zip(self.layers, tensors, strict=True)
        return torch.cat([layer.rows(tensor).flatten() for layer, tensor in pairs])

    def numbers(self, values: Any) -> Tensor:
        """Values of the layers as a float64 tensor on the device."""
        return torch.as_tensor(values, dtype=torch.float64, device=self.device)

    def zeros(self, *shape: int) -> Tensor:
        """Float64 zeros on the device, to add to."""
        return torch.zeros(shape, dtype=torch.float64, device=self.device)

    @contextmanager
    def outputs(
        self, module: nn.Module | None = None, indices: Iterable[int] | None = None
    ) -> Iterator[dict[int, list[Tensor]]]:
        """While it lasts, what these layers, or all, put out: one tensor per call, by layer index.

        What follows in place does not change them.
        """
        layers = self.layers if indices is None else [self.layers[index] for index in indices]
        seen: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}

        def keep(name: str, output: Any) -> Tensor | None:
            seen[name].append(tensors(output)[0])
            return output.clone() if isinstance(output, Tensor) else None

        with listening(readers(module or self.module, layers), on_output=keep):
            yield {layer.index: seen[layer.name] for layer in layers}


def _like(network: Network, images: Tensor) -> Any:
    """Images in the form of the batches that the network is fed with."""
    example = network.example
    if isinstance(example, Mapping):
        return {key: images for key in example if key not in LABEL_KEYS}
    return (images, *example[1:]) if isinstance(example, (tuple, list)) else images
