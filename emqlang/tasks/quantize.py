"""A recipe to a quantized network with its accuracy, for `quantize` and `assign --max-drop`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

from msgspec import UNSET
from msgspec.structs import replace

from emqlang.quant.bits.uniform import uniform_recipe
from emqlang.quant.networks.network import Network
from emqlang.quant.progress import Progress
from emqlang.quant.ptq import quantize as ptq
from emqlang.quant.ptq.check import Check, check
from emqlang.quant.ptq.evaluate import Evaluation, evaluate, load_metric, predict
from emqlang.quant.ptq.quantized import Quantized
from emqlang.quant.ptq.recipe import LayerRecipe, Procedure, Recipe, Scheme, Uniform
from emqlang.quant.ptq.rounding import Codes, Finished, RoundingProgress
from emqlang.quant.ptq.splits import Splits
from emqlang.quant.unfinished import UNFINISHED, Unfinished


@dataclass(frozen=True)
class QuantizeOptions:
    """How to quantize, in the words of the command line's options.

    check    whether 8 bits are checked first
    uniform  whether uniform bits at the same budget are quantized too
    metric   by which results are judged, as file.py:function
    """

    rounding: str = "nearest"
    iterations: int = 20_000
    calib_images: int = 1024
    range: str = "mse"
    bias_correction: bool = False
    fisher: bool = False
    check: bool = True
    uniform: bool = True
    metric: str | None = None

    @property
    def procedure(self) -> Procedure:
        images, iterations = self.calib_images, self.iterations
        return Procedure(self.rounding, images, iterations, self.bias_correction, self.fisher)


@dataclass(frozen=True)
class Beside:
    """Uniform bits within the same budget, quantized in the same way; None where there are none."""

    uniform: Uniform | None
    evaluation: Evaluation | None


@dataclass(frozen=True, eq=False)
class Comparison:
    """A quantized network beside the float one, on the same test images.

    check   None if it was not made
    out     the folder that the network was written to
    beside  None where the recipe says nothing of uniform bits, or they were not asked for
    """

    network: Network
    quantized: Quantized
    before: Evaluation
    after: Evaluation
    check: Check | None
    splits: Splits
    seconds: float
    out: Path | None
    beside: Beside | None = None


class Quantization:
    """One network and its splits, float evaluated once, on which recipes are tried."""

    def __init__(
        self, network: Network, splits: Splits, options: QuantizeOptions, progress: Progress
    ) -> None:
        self.network, self.splits = network, splits
        self.options, self.progress = options, progress
        self.metric = None if options.metric is None else load_metric(options.metric)
        test, signature = splits.test.followed("float", progress), network.signature
        self.reference = predict(network.module, test, self.metric, signature=signature)
        self.before = self.reference.evaluate()

    def run(
        self,
        recipe: Recipe,
        out: Path | None = None,
        estimate: Callable[[float], None] = lambda seconds: None,
        note: Callable[[str], None] = lambda line: None,
    ) -> Comparison:
        """Quantizes, evaluates, and writes recipe and model.

        out       a folder, also for what is learned so far: an interrupted run resumes from it
        estimate  told how many seconds learned rounding will take, before it begins
        note      told that the work goes on from what is there, or why it does not
        """
        began = perf_counter()
        checked = self._check() if self.options.check else None
        quantized = self.quantize(recipe, out, estimate, note)
        after = self.evaluate(quantized)
        seconds = perf_counter() - began
        if out is not None:
            quantized.save(out)
            (out / UNFINISHED).unlink(missing_ok=True)  # only now, for a kill may come at any time
        beside = self._beside(recipe, after, note) if self.options.uniform else None
        return Comparison(
            self.network, quantized, self.before, after, checked, self.splits, seconds, out, beside
        )

    def _beside(
        self, recipe: Recipe, after: Evaluation, note: Callable[[str], None]
    ) -> Beside | None:
        """The uniform bits that the recipe names, quantized in the same way."""
        if recipe.solver is None or recipe.solver.uniform is UNSET:
            return None
        named, uniform = recipe.solver.uniform, uniform_recipe(recipe, self.network)
        if named is None or uniform is None:
            return Beside(None, None)
        if uniform.layers == recipe.layers:
            return Beside(named, after)
        if self.options.procedure.learned:
            note(f"uniform {named.choice} takes as long again: --no-uniform leaves it out")
        return Beside(named, self.evaluate(self.quantize(uniform)))

    def evaluate(self, quantized: Quantized) -> Evaluation:
        """The quantized network on the test images, beside the float one."""
        return evaluate(
            quantized.module,
            self.splits.test.followed("quantized", self.progress),
            self.metric,
            reference=self.reference,
            signature=self.network.signature,
        )

    def quantize(
        self,
        recipe: Recipe,
        out: Path | None = None,
        estimate: Callable[[float], None] = lambda seconds: None,
        note: Callable[[str], None] = lambda line: None,
    ) -> Quantized:
        """The network by a recipe, with the options' ranges; the rest as in `run`."""
        options, recipe = self.options, with_range(recipe, self.options.range)
        finished = Finished()
        if out is not None and options.procedure.learned:
            finished = _InFile(out / UNFINISHED, recipe, options, note)

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
        return quantized

    def _check(self) -> Check | None:
        return check(
            self.network,
            self.splits.calibration,
            self.splits.test,
            images=self.options.calib_images,
            metric=self.metric,
            progress=self.progress,
        )


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
    """Finished units in a file that only the same recipe and options read.

    note  told that the work goes on, or why it does not
    """

    def __init__(
        self, path: Path, recipe: Recipe, options: QuantizeOptions, note: Callable[[str], None]
    ) -> None:
        self.note, self.layers = note, len(recipe.bits)
        decisive = {
            name: v for name, v in asdict(options).items() if name not in {"metric", "uniform"}
        }
        self.file = Unfinished(path, [recipe.as_json(), decisive], note)

    def save(self, codes: Codes) -> None:
        self.file.save(codes)

    def load(self) -> Codes:
        if (found := self.file.load()) is None:
            return {}
        codes, _ = found
        done = f"{len(codes):,} of {self.layers:,} layers are rounded"
        self.note(f"{done} in {self.file.path}: going on with the others")
        return codes
