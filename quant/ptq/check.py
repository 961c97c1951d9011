"""The 8-bit check, which names the layers at fault where it fails.

A network that 8 bits hurt has a fault that fewer bits would only bury.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

import torch
from msgspec.structs import replace
from torch import Tensor

from emqlang.quant.networks.batches import Forward, feed, pass_through, rows, slice_rows, take
from emqlang.quant.networks.layers import readers
from emqlang.quant.networks.network import Network
from emqlang.quant.progress import Progress, silent
from emqlang.quant.ptq.evaluate import Evaluation, Reference, evaluate, predict
from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.quantized import identity
from emqlang.quant.ptq.recipe import LayerRecipe, Procedure, Recipe, uniform
from emqlang.quant.ptq.sites import find_sites, reading

ACCURACY = 0.005  # that 8 bits may cost
AGREEMENT = 0.99  # with the float network that 8 bits must keep, where there are no labels
SUSPECTS = 3
LOOKED_AT = 64  # images on which causes are looked for
FAR = 20.0  # times the usual size of a network's input, or of a channel, is too large


@dataclass(frozen=True)
class Suspect:
    """A layer that 8 bits hurt on its own: what that costs of the score, and the likely cause."""

    layer: str
    loss: float
    cause: str


@dataclass(frozen=True)
class Check:
    """Float and 8 bits side by side.

    measure   'accuracy', or 'agreement with float' where there are no labels
    suspects  named where the check fails, the worst first
    """

    measure: str
    float_score: float
    score: float
    passed: bool
    suspects: tuple[Suspect, ...] = ()


def check(
    network: Network,
    calibration: Iterable[Any],
    test: Iterable[Any],
    *,
    images: int = 1024,
    forward: Forward = feed,
    progress: Progress = silent,
) -> Check:
    """Quantizes everything to 8 bits by nearest rounding, and compares with float.

    images  how many of the first calibrate
    """
    return _Trials(network, take(calibration, images), list(test), forward, progress).check()


class _Trials:
    """Evaluations of the network with some of its layers at 8 bits."""

    def __init__(
        self,
        network: Network,
        calibration: list[Any],
        test: list[Any],
        forward: Forward,
        progress: Progress,
    ) -> None:
        self.network, self.calibration, self.test = network, calibration, test
        self.forward, self.progress = forward, progress
        self.names = [layer.name for layer in network.collection.layers]
        self.recipe = uniform(identity(network), self.names, 8, 8)
        self.reference: Reference = predict(network.module, test, forward=forward)
        self.images = sum(map(rows, calibration))
        self.tried = 0

    def check(self) -> Check:
        plain = self.reference.evaluate(self.test)
        labelled = plain.accuracy is not None
        float_score, score = _score(plain), self.score(self.names)
        passed = score >= float_score - ACCURACY if labelled else score >= AGREEMENT
        suspects = () if passed else tuple(self._suspects(float_score))
        measure = "accuracy" if labelled else "agreement with float"
        return Check(measure, float_score, score, passed, suspects)

    def score(self, layers: Sequence[str]) -> float:
        """The score with these layers alone at 8 bits."""
        self.tried += 1
        self.progress("8-bit check", self.tried, self.tried)
        recipe, procedure, forward = self._only(layers), Procedure(images=self.images), self.forward
        quantized = quantize(self.network, recipe, self.calibration, procedure, forward=forward)
        reference = self.reference
        return _score(evaluate(quantized.module, self.test, reference=reference, forward=forward))

    def _only(self, layers: Sequence[str]) -> Recipe:
        entries = self.recipe.layers.items()
        left = {name: LayerRecipe(None, None) for name, _ in entries if name not in layers}
        return replace(self.recipe, layers={**self.recipe.layers, **left})

    def _suspects(self, float_score: float) -> Iterable[Suspect]:
        """The worst layers by bisection: the set that hurts most so far is cut in half next."""
        queue: list[tuple[float, Sequence[str]]] = [(0.0, self.names)]
        worst: list[tuple[str, float]] = []
        while queue and len(worst) < SUSPECTS:
            hurt, layers = heappop(queue)
            if len(layers) == 1:
                worst.append((layers[0], -hurt))
                continue
            middle = len(layers) // 2
            for half in (layers[:middle], layers[middle:]):
                heappush(queue, (self.score(half) - float_score, half))
        return [Suspect(name, loss, self._cause(name)) for name, loss in worst]

    def _cause(self, name: str) -> str:
        if norm := self._unfolded_after(name):
            return f"the batch norm '{norm}' behind it is not folded"
        inputs, external = self._inputs(name)
        largest = float(inputs.abs().max())
        if external and largest > FAR:
            reaches = f"the network's input reaches {largest:.3g}"
            return f"{reaches}: are the images normalised as it was trained?"
        axis = 1 if inputs.ndim > 2 else -1
        channels = inputs.movedim(axis, 0).flatten(1).abs().amax(1)
        typical = float(channels.median())
        if float(channels.max()) > FAR * typical:
            reaches = f"channel {int(channels.argmax())} of its input reaches {largest:.3g}"
            return f"{reaches}, others {typical:.3g}: an outlier channel"
        return "none of the usual: all batch norms folded, input in range, no outlier channel"

    def _unfolded_after(self, name: str) -> str:
        """The unfolded batch norm that follows in the network's own order, before any layer."""
        order: list[str] = [part for part, _ in self.network.module.named_modules()]
        for part in order[order.index(name) + 1 :]:
            if part in self.network.unfolded:
                return part
            if part in self.names:
                break
        return ""

    def _inputs(self, name: str) -> tuple[Tensor, bool]:
        """What the layer is given in float, and whether that is the network's own input."""
        module, layers = self.network.module, self.network.collection.layers
        batch = slice_rows(self.calibration[0], 0, LOOKED_AT)
        inputs: list[Tensor] = []
        parts = readers(module, [layer for layer in layers if layer.name == name])
        with torch.no_grad(), reading(parts, lambda _, tensor: inputs.append(tensor.clone())):
            pass_through(module, batch, self.forward)
        (site,) = find_sites(module, layers, batch, self.forward, {name: 8})
        return inputs[0].float(), site.external


def _score(evaluation: Evaluation) -> float:
    score = evaluation.agreement if evaluation.accuracy is None else evaluation.accuracy
    assert score is not None
    return score
