"""What statistics are taken of: a network on a device, the images it is shown, and the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emqlang.grammar.diagnostics import error, nearest
from emqlang.quant.bits.menu import Choice
from emqlang.quant.determinism import generator
from emqlang.quant.networks.batches import logits_of
from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.layers import Layer, readers
from emqlang.quant.networks.network import Network
from emqlang.quant.networks.tracing import run, tensors
from emqlang.quant.ptq.grids import WeightQuantizer
from emqlang.quant.user_code import foreign

CLASS_AXIS = 1  # of logits (N, classes, ...)
LOSSES = ("label", "self")
Progress = Callable[[str, int, int], None]  # a statistic, steps done, steps in all
Loss = Callable[
    [Tensor, tuple[Tensor, Tensor | None]], Tensor
]  # of the network's scores and a batch: the mean over images


@dataclass(frozen=True)
class Settings:
    """loss: 'label', 'self' for labels drawn from the network's own softmax, or the user's own. Raises E403 for another."""

    loss: str | Loss = "label"
    hessian_samples: int = 32
    seed: int = 0
    quantizer: WeightQuantizer = field(default_factory=WeightQuantizer)

    def __post_init__(self) -> None:
        if isinstance(self.loss, str) and self.loss not in LOSSES:
            help = (
                *nearest(self.loss, LOSSES),
                f"one of {', '.join(LOSSES)}, or a function of scores and batch",
            )
            raise error("E403", f"there is no loss '{self.loss}'", *help)


@dataclass(frozen=True, eq=False)
class Subject:
    """`images` is (N, *shape) with N = 0 where there is no data; `given` are its labels, if it has any; both on the CPU."""

    network: Network
    device: torch.device
    menu: tuple[Choice, ...]
    images: Tensor
    given: Tensor | None
    settings: Settings
    progress: Progress

    @cached_property
    def module(self) -> nn.Module:
        """The network's own module, or a copy on another device."""
        home = next(
            (parameter.device for parameter in self.network.module.parameters()), self.device
        )
        return (
            self.network.module
            if home == self.device
            else deepcopy(self.network.module).to(self.device)
        )

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of `module`."""
        found = self.network.collection.layers
        return tuple(
            Layer(layer.name, self.module.get_submodule(layer.name), layer.index) for layer in found
        )

    @cached_property
    def weights(self) -> tuple[nn.Parameter, ...]:
        return tuple(layer.weight for layer in self.layers)

    @cached_property
    def labels(self) -> Tensor:
        """Labels of all images; the network's own draws are seeded. Raises E304 where labels are needed and missing."""
        if self.settings.loss == "self":
            return self._drawn()
        if self.given is None and callable(self.settings.loss):
            return torch.zeros(
                len(self.images), dtype=torch.long
            )  # it does without, or it will say so
        if self.given is None:
            raise error("E304", "the data has no labels", "take the network's own: --loss self")
        return self.given

    def _drawn(self) -> Tensor:
        generator = self.generator("labels")
        drawn = []
        for start in range(len(self.images)):
            with torch.no_grad():
                shares = (
                    self.logits(self.images[start : start + 1])
                    .float()
                    .softmax(CLASS_AXIS)
                    .movedim(CLASS_AXIS, -1)
                    .cpu()
                )
            marks = torch.multinomial(shares.reshape(-1, shares.shape[-1]), 1, generator=generator)
            drawn.append(marks.reshape(shares.shape[:-1]))
        return torch.cat(drawn)

    def logits(self, images: Tensor, module: nn.Module | None = None) -> Tensor:
        """What the network says of a few images. Raises E308 where its forward fails."""
        return logits_of(run(module or self.module, images.to(self.device), self.network.forward))

    def loss(self, logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """The sum over images of their loss: cross entropy, which is a mean where one image has several labels, or the user's."""
        own = self.settings.loss
        if callable(own):
            with foreign("E304", "the loss"):
                return own(
                    logits,
                    (
                        images.to(self.device),
                        None if self.given is None else labels.to(self.device),
                    ),
                ) * len(images)
        with foreign("E304", "cross entropy of the network's output with the labels"):
            return F.cross_entropy(logits, labels.to(self.device)) * len(labels)

    def batches(self, size: int) -> Sequence[tuple[Tensor, Tensor]]:
        """All images with their labels, at most `size` at a time."""
        return list(
            zip(torch.split(self.images, size), torch.split(self.labels, size), strict=True)
        )

    def generator(self, purpose: str) -> torch.Generator:
        """A generator on the CPU that depends on the seed and its purpose alone."""
        return generator(purpose, self.settings.seed)

    def flat(self, tensors: Sequence[Tensor]) -> Tensor:
        """Tensors of the weights' shapes as one buffer, each layer's as (C_out, fan_in)."""
        return torch.cat(
            [
                layer.rows(tensor).flatten()
                for layer, tensor in zip(self.layers, tensors, strict=True)
            ]
        )

    def numbers(self, values: Any) -> Tensor:
        """Values of the layers as a float64 tensor on the device."""
        return torch.as_tensor(values, dtype=torch.float64, device=self.device)

    @contextmanager
    def outputs(
        self, module: nn.Module | None = None, indices: Iterable[int] | None = None
    ) -> Iterator[dict[int, list[Tensor]]]:
        """While it lasts, what these layers, or all, put out, one entry a call; safe from what follows in place."""
        layers = self.layers if indices is None else [self.layers[index] for index in indices]
        seen: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}

        def keep(name: str, output: Any) -> Tensor | None:
            seen[name].append(tensors(output)[0])
            return output.clone() if isinstance(output, Tensor) else None

        with listening(readers(module or self.module, layers), on_output=keep):
            yield {layer.index: seen[layer.name] for layer in layers}
