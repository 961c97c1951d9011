"""A recipe to a quantized network with its accuracy, for `quantize` and `assign --max-drop`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import blake2b
from json import dumps
from pathlib import Path
from time import perf_counter

import torch
from msgspec.structs import replace
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from emqlang.quant.networks.network import Network
from emqlang.quant.progress import Progress
from emqlang.quant.ptq import quantize as ptq
from emqlang.quant.ptq.check import Check, check
from emqlang.quant.ptq.evaluate import Evaluation, evaluate, predict
from emqlang.quant.ptq.quantized import Quantized
from emqlang.quant.ptq.recipe import LayerRecipe, Procedure, Recipe, Scheme
from emqlang.quant.ptq.rounding import Codes, Finished, RoundingProgress
from emqlang.quant.ptq.splits import Splits
from emqlang.store import write_atomically

UNFINISHED = "unfinished.safetensors"  # in the folder of a result


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

    @property
    def procedure(self) -> Procedure:
        images, iterations = self.calib_images, self.iterations
        return Procedure(self.rounding, images, iterations, self.bias_correction, self.fisher)


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
            quantized.save(out)
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
        finished = Finished()
        if out is not None and options.procedure.learned:
            finished = _InFile(out / UNFINISHED, recipe, options)

        def report(progress: RoundingProgress) -> None:
            if not progress.done:
                estimate(progress.seconds_left)
            name = f"{options.rounding} {progress.unit}"
            self.progress(name, progress.done, progress.total)

        quantized = ptq.quantize(
            self.network,
            recipe,
            self.splits.calibration,
            options.procedure,
            finished=finished,
            progress=report,
        )
        finished.forget()
        return quantized

    def _check(self) -> Check:
        calibration, test = self.splits.calibration, self.splits.test
        images = self.options.calib_images
        return check(self.network, calibration, test, images=images, progress=self.progress)


def with_range(recipe: Recipe, observer: str) -> Recipe:
    """The recipe with every range found in this way."""

    def ranged(scheme: Scheme | None) -> Scheme | None:
        return None if scheme is None else replace(scheme, observer=observer)

    layers = {
        name: LayerRecipe(ranged(entry.weight), ranged(entry.input))
        for name, entry in recipe.layers.items()
    }
    return replace(recipe, layers=layers)


class _InFile(Finished):
    """Finished units in a file that only the same recipe and options read."""

    def __init__(self, path: Path, recipe: Recipe, options: QuantizeOptions) -> None:
        self.path = path
        facts = dumps([recipe.as_json(), asdict(options), torch.__version__])
        self.facts = {"of": blake2b(facts.encode(), digest_size=16).hexdigest()}

    def save(self, codes: Codes) -> None:
        write_atomically(self.path, lambda file: save_file(dict(codes), file, self.facts))

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)

    def load(self) -> Codes:
        try:
            with safe_open(self.path, framework="pt") as file:
                if file.metadata() != self.facts:
                    return {}
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError):
            return {}
