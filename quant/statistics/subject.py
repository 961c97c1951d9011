"""What statistics are taken of: a network on a device, and the images it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from emqlang.grammar.diagnostics import error
from emqlang.quant.bits.menu import Choice
from emqlang.quant.determinism import generator
from emqlang.quant.networks.answers import Answer, answer
from emqlang.quant.networks.batches import labels_of, no_labels, run
from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.label_values import LabelValues
from emqlang.quant.networks.layers import Layer, readers
from emqlang.quant.networks.loss import own_loss
from emqlang.quant.networks.nested import mapped, tensors
from emqlang.quant.networks.network import Network
from emqlang.quant.networks.rows import Rows
from emqlang.quant.progress import Progress
from emqlang.quant.statistics.options import StatisticsOptions


@dataclass(frozen=True, eq=False)
class Shown:
    """Some rows that the network is shown together.

    batch  as the user gave it, on the device
    start  the first of them, of all that are shown; `stop` is the first that is not among them
    """

    batch: Any
    start: int
    stop: int

    @property
    def rows(self) -> int:
        return self.stop - self.start


class Rounding(Protocol):
    """Where quantized weights come from."""

    @property
    def facts(self) -> tuple[Any, ...]:
        """What they depend on beside the network, the width and the grids."""

    def values(self, layer: Layer, bits: int) -> Tensor:
        """The weight (C_out, fan_in) of a layer of the network, or of its copy on a device."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A network on a device, with a menu and the rows of the user's batches that it is shown.

    images    on the CPU; none where no statistic needs them
    rounding  where quantized weights come from
    """

    network: Network
    menu: tuple[Choice, ...]
    images: Rows
    options: StatisticsOptions
    progress: Progress
    rounding: Rounding

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

    @property
    def act_sizes(self) -> list[int]:
        """Elements that each layer puts out for one image, at least 1 of those that few reach."""
        return [max(1, size) for size in self.network.collection.act_numel]

    def check_labels(self) -> None:
        """Raises E304 where the loss needs labels and some batch has none that it takes."""
        signature, values = self.network.signature, LabelValues()
        for batch in self.images.batches:
            values.add(labels_of(batch, signature))
            if labels_of(batch, signature) is None:
                help = (
                    "take the network's own: --loss self",
                    "or say what is to be small: --loss file.py:function",
                )
                raise error("E304", no_labels(batch, signature), *help)
        values.check()

    @cached_property
    def _drawn(self) -> list[Tensor]:
        """Labels of each row, drawn with the seed as the network itself would give them."""
        return [labels[0] for labels in self._draw(1, "labels")]

    @cached_property
    def _draws(self) -> list[list[Tensor]]:
        """As many labels of each row as there are label draws, in the same way."""
        return self._draw(self.options.label_draws or 1, "label draws")

    def _draw(self, count: int, purpose: str) -> list[list[Tensor]]:
        generator = self.generator(purpose)
        labels = []
        for index in range(len(self.images)):
            batch = self._here(self.images[index])
            with torch.no_grad():
                own = answer(self.answer(batch), 1)
            labels.append([own.drawn(generator) for _ in range(count)])
        return labels

    def answer(self, batch: Any, module: nn.Module | None = None) -> Any:
        """What the network returns for a batch. Raises E308 where its forward fails."""
        return run(module or self.module, batch, self.network.forward)

    def loss(self, outputs: Any, shown: Shown) -> Tensor:
        """The sum over rows of their loss: the user's own, or that of `answers`.

        The user's own is one number, the mean over the rows, or one for each row. Raises E304 for
        one that fails, is no such number, or not finite.
        """
        own = self.options.loss
        if not callable(own):
            return self._answer(outputs, shown).loss()
        loss = own_loss(own, outputs, shown.batch, shown.rows)
        if not loss.isfinite().all():
            raise error("E304", "the loss returned a value that is not finite")
        return loss * shown.rows

    def _answer(self, outputs: Any, shown: Shown) -> Answer:
        """What the network answers, beside the labels of the loss."""
        if self.options.loss == "self":
            drawn = torch.cat(self._drawn[shown.start : shown.stop]).to(self.device)
            return answer(outputs, shown.rows, drawn)
        signature = self.network.signature
        labels, inputs = labels_of(shown.batch, signature), signature.parts(shown.batch)
        return answer(outputs, shown.rows, labels, inputs)

    def likelihoods(self, outputs: Any, shown: Shown) -> Tensor:
        """(rows, draws): log p of each row's labels, which is minus their loss.

        One label, that of the loss; or as many as there are label draws. A loss of the user's own
        takes one row at a time.
        """
        if self.options.label_draws:
            draws = zip(*self._draws[shown.start : shown.stop], strict=True)
            labels = [torch.cat(marks).to(self.device) for marks in draws]
            losses = [answer(outputs, shown.rows, marks).losses() for marks in labels]
            return -torch.stack(losses, 1)
        if callable(self.options.loss):
            assert shown.rows == 1
            return -self.loss(outputs, shown).reshape(1, 1)
        return -self._answer(outputs, shown).losses()[:, None]

    def show(self, index: int) -> Shown:
        """One row."""
        return Shown(self._here(self.images[index]), index, index + 1)

    def batches(self, size: int) -> Iterator[Shown]:
        """All rows, at most `size` at a time."""
        for start, stop, batch in self.images.chunks(size):
            yield Shown(self._here(batch), start, stop)

    def _here(self, batch: Any) -> Any:
        return mapped(lambda leaf: leaf.to(self.device), batch)

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
