"""The 8-bit check, which names the layers at fault where it fails.

A network that 8 bits hurt has a fault that fewer bits would only bury.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from typing import Any, Final

import torch
from msgspec.structs import replace
from torch import Tensor

from emqlang.quant.networks.batches import chunks, held, pass_through, rows, take
from emqlang.quant.networks.layers import readers
from emqlang.quant.networks.network import Network
from emqlang.quant.progress import Progress, silent
from emqlang.quant.ptq.evaluate import Evaluation, Metric, evaluate, predict
from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.quantized import identity
from emqlang.quant.ptq.recipe import LayerRecipe, Procedure, Recipe, uniform
from emqlang.quant.ptq.sites import find_sites, reading

# What 8 bits may cost of each measure. Fidelity: an operand's 255 steps over about 8 standard
# deviations add a relative error of 1 %, errors grow as the root of their number, and 10 % (an SQNR
# of 20 dB) is that of 100 operands, 50 layers deep.
ALLOWED: Final = {"accuracy": 0.005, "agreement with float": 0.01, "fidelity": 0.1}
CERTAIN = 2.0  # standard errors that a drop must reach, to be none of chance
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

    measure   that of `Quality`
    images    that were judged on
    passed    None where the drop is too large, and so many images cannot tell it from chance
    suspects  named where the check fails, the worst first
    """

    measure: str
    float_score: float
    score: float
    images: int
    passed: bool | None
    suspects: tuple[Suspect, ...] = ()


def check(
    network: Network,
    calibration: Iterable[Any],
    test: Iterable[Any],
    *,
    images: int = 1024,
    metric: Metric | None = None,
    progress: Progress = silent,
) -> Check | None:
    """Quantizes everything to 8 bits by nearest rounding, and compares with float.

    images  how many of the first calibrate
    metric  which reads the labels: those that do not fit the outputs are not compared
    Returns None where the outputs cannot be compared either, since their shapes differ.
    """
    trials = _Trials(network, take(calibration, images), held(test), metric, progress)
    return trials.check()


class _Trials:
    """Evaluations of the network with some of its layers at 8 bits."""

    def __init__(
        self,
        network: Network,
        calibration: list[Any],
        test: list[Any],
        metric: Metric | None,
        progress: Progress,
    ) -> None:
        self.network, self.calibration, self.test = network, calibration, test
        self.metric, self.forward, self.progress = metric, network.forward, progress
        self.names = [layer.name for layer in network.collection.layers]
        self.recipe = uniform(identity(network), self.names, 8, 8)
        self.reference = predict(network.module, test, metric, signature=network.signature)
        self.plain = self.reference.evaluate()
        self.images = sum(map(rows, calibration))
        self.tried = 0

    def check(self) -> Check | None:
        evaluation = self.evaluate(self.names)
        if not evaluation.comparable:
            return None
        quality = evaluation.quality(self.plain)
        passed: bool | None = quality.drop <= ALLOWED[quality.measure]
        if not passed and quality.drop < CERTAIN * quality.error:
            passed = None
        suspects = tuple(self._suspects(quality.drop)) if passed is False else ()
        scores = quality.reference, quality.value
        return Check(quality.measure, *scores, evaluation.images, passed, suspects)

    def drop(self, layers: Sequence[str]) -> float:
        """What the network loses with these layers alone at 8 bits."""
        evaluation = self.evaluate(layers)
        return evaluation.quality(self.plain).drop if evaluation.comparable else inf

    def evaluate(self, layers: Sequence[str]) -> Evaluation:
        """The network with these layers alone at 8 bits."""
        self.tried += 1
        self.progress("8-bit check", self.tried, self.tried)
        recipe, procedure = self._only(layers), Procedure(images=self.images)
        module = quantize(self.network, recipe, self.calibration, procedure).module
        reference, signature = self.reference, self.network.signature
        return evaluate(module, self.test, self.metric, reference=reference, signature=signature)

    def _only(self, layers: Sequence[str]) -> Recipe:
        entries = self.recipe.layers.items()
        left = {name: LayerRecipe(None, None) for name, _ in entries if name not in layers}
        return replace(self.recipe, layers={**self.recipe.layers, **left})

    def _suspects(self, drop: float) -> Iterable[Suspect]:
        """The worst layers by bisection: the set that hurts most so far is cut in half next.

        Layers that alone cost nothing are not named.
        """
        queue: list[tuple[float, Sequence[str]]] = [(-drop, self.names)]
        worst: list[tuple[str, float]] = []
        while queue and len(worst) < SUSPECTS:
            hurt, layers = heappop(queue)
            if len(layers) == 1:
                worst += [(layers[0], -hurt)] if hurt < 0 else []
                continue
            middle = len(layers) // 2
            for half in (layers[:middle], layers[middle:]):
                heappush(queue, (-self.drop(half), half))
        return [Suspect(name, loss, self._cause(name)) for name, loss in worst]

    def _cause(self, name: str) -> str:
        if norm := self._unfolded_after(name):
            return f"the batch norm '{norm}' behind it is not folded"
        found = self._inputs(name)
        if found is None:
            return "no calibration image reaches it"
        inputs, external = found
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

    def _inputs(self, name: str) -> tuple[Tensor, bool] | None:
        """What the layer is given in float, and whether that is the network's own input.

        None where no calibration row reaches it.
        """
        module, layers = self.network.module, self.network.collection.layers
        parts = readers(module, [layer for layer in layers if layer.name == name])
        inputs: list[Tensor] = []
        for batch in chunks(self.calibration, LOOKED_AT):
            with torch.no_grad(), reading(parts, lambda _, tensor: inputs.append(tensor.clone())):
                pass_through(module, batch, self.forward)
            for tensor in inputs:
                if tensor.numel():
                    (site,) = find_sites(module, layers, batch, self.forward, {name: 8})
                    return tensor.float(), site.external
        return None
