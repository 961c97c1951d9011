"""A recipe to a quantized network with its accuracy, for `quantize` and `assign --max-drop`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from json import dumps
from pathlib import Path
from time import perf_counter

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from emqlang.quant.networks.network import Network
from emqlang.quant.ptq import quantize as ptq
from emqlang.quant.ptq.check import Check, check
from emqlang.quant.ptq.evaluate import Evaluation, evaluate, predict
from emqlang.quant.ptq.quantized import Quantized
from emqlang.quant.ptq.recipe import LayerRecipe, Recipe, Scheme
from emqlang.quant.ptq.rounding import Progress as RoundingProgress
from emqlang.quant.ptq.splits import Splits
from emqlang.quant.statistics.subject import Progress
from emqlang.store import write_atomically

# in the folder of a result
RECIPE, MODEL, UNFINISHED = "recipe.json", "model.safetensors", "unfinished.safetensors"


@dataclass(frozen=True)
class QuantizeOptions:
    """How to quantize, in the words of the command line's options."""

    rounding: str = "nearest"
    iterations: int = 20_000
    calib_images: int = 1024
    range: str = "mse"
    bias_correction: bool = False
    fisher: bool = False
    check: bool = True


@dataclass(frozen=True, eq=False)
class Comparison:
    """A quantized network beside the float one, on the same test images.

    check  None if it was not made
    out    the folder that the network was written to
    """

    network: Network
    quantized: Quantized
    before: Evaluation
    after: Evaluation
    check: Check | None
    splits: Splits
    seconds: float
    out: Path | None


class Quantization:
    """One network and its splits, float evaluated once, on which recipes are tried."""

    def __init__(
        self, network: Network, splits: Splits, options: QuantizeOptions, progress: Progress
    ) -> None:
        self.network, self.splits = network, splits
        self.options, self.progress = options, progress
        self.reference = predict(network.module, splits.test)
        self.before = self.reference.evaluate(splits.test)

    def run(
        self,
        recipe: Recipe,
        out: Path | None = None,
        estimate: Callable[[float], None] = lambda seconds: None,
    ) -> Comparison:
        """Quantizes, evaluates, and writes recipe and model.

        out       a folder, also for what is learned so far: an interrupted run resumes from it
        estimate  told how many seconds learned rounding will take, before it begins
        """
        began = perf_counter()
        checked = self._check() if self.options.check else None
        quantized = self.quantize(recipe, out, estimate)
        after = evaluate(quantized.module, self.splits.test, reference=self.reference)
        seconds = perf_counter() - began
        if out is not None:
            quantized.recipe.save(out / RECIPE)
            quantized.save(out / MODEL)
        return Comparison(
            self.network, quantized, self.before, after, checked, self.splits, seconds, out
        )

    def quantize(
        self,
        recipe: Recipe,
        out: Path | None = None,
        estimate: Callable[[float], None] = lambda seconds: None,
    ) -> Quantized:
        """The network by a recipe, with the options' ranges; `out` and `estimate` as in `run`."""
        options, recipe = self.options, with_range(recipe, self.options.range)
        learned = out is not None and options.rounding != "nearest"
        unfinished = _Unfinished(out / UNFINISHED, recipe, options) if out and learned else None

        def report(progress: RoundingProgress) -> None:
            if not progress.done:
                estimate(progress.seconds_left)
            name = f"{options.rounding} {progress.unit}"
            self.progress(name, progress.done, progress.total)

        quantized = ptq.quantize(
            self.network,
            recipe,
            self.splits.calibration,
            rounding=options.rounding,
            images=options.calib_images,
            iterations=options.iterations,
            bias_correction=options.bias_correction,
            fisher=options.fisher,
            progress=report,
            save=unfinished.save if unfinished else _forget,
            finished=unfinished.load() if unfinished else None,
        )
        if unfinished:
            unfinished.path.unlink(missing_ok=True)
        return quantized

    def _check(self) -> Check:
        calibration, test = self.splits.calibration, self.splits.test
        images = self.options.calib_images
        return check(self.network, calibration, test, images=images, tell=self.progress)


def with_range(recipe: Recipe, observer: str) -> Recipe:
    """The recipe with every range found in this way."""

    def ranged(scheme: Scheme | None) -> Scheme | None:
        return None if scheme is None else replace(scheme, observer=observer)

    layers = {
        name: LayerRecipe(ranged(entry.weight), ranged(entry.input))
        for name, entry in recipe.layers.items()
    }
    return replace(recipe, layers=layers)


def _forget(codes: Mapping[str, Tensor]) -> None: ...


class _Unfinished:
    """The integers of the finished units, in a file that only the same recipe and options read."""

    def __init__(self, path: Path, recipe: Recipe, options: QuantizeOptions) -> None:
        self.path = path
        facts = dumps([recipe.as_json(), asdict(options), torch.__version__])
        self.facts = {"of": blake2b(facts.encode(), digest_size=16).hexdigest()}

    def save(self, codes: Mapping[str, Tensor]) -> None:
        write_atomically(self.path, lambda file: save_file(dict(codes), file, self.facts))

    def load(self) -> Mapping[str, Tensor]:
        try:
            with safe_open(self.path, framework="pt") as file:
                if file.metadata() != self.facts:
                    return {}
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            return {}
