"""A recipe to a quantized network with its accuracy: what `quantize`, `evaluate` and `assign --max-drop` share."""

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

from emqlang.quant.networks.network import Network, load
from emqlang.quant.ptq.check import Check, check
from emqlang.quant.ptq.evaluate import Evaluation, Reference, evaluate, predict
from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.quantized import Quantized, load_quantized
from emqlang.quant.ptq.recipe import LayerRecipe, Recipe, Scheme
from emqlang.quant.ptq.rounding import Progress
from emqlang.quant.ptq.splits import Splits
from emqlang.store import write_atomically
from emqlang.tasks.workbench import Settings

RECIPE, MODEL, UNFINISHED = (
    "recipe.json",
    "model.safetensors",
    "unfinished.safetensors",
)  # in the folder of a result
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Method:
    """How to quantize, in the words of the command line's options."""

    rounding: str = "nearest"
    iterations: int = 20_000
    calib_images: int = 1024
    range: str = "mse"
    bias_correction: bool = False
    fisher: bool = False
    check: bool = True


@dataclass(frozen=True, eq=False)
class Outcome:
    """A quantized network beside the float one, on the same test images; `check` is None if it was not asked for."""

    quantized: Quantized
    before: Evaluation
    after: Evaluation
    check: Check | None
    splits: Splits
    seconds: float


def with_range(recipe: Recipe, observer: str) -> Recipe:
    """The recipe with every range found in this way."""

    def ranged(scheme: Scheme | None) -> Scheme | None:
        return None if scheme is None else replace(scheme, observer=observer)

    layers = {
        name: LayerRecipe(ranged(entry.weight), ranged(entry.input))
        for name, entry in recipe.layers.items()
    }
    return replace(recipe, layers=layers)


class Quantization:
    """One network and its splits, float evaluated once, on which recipes are tried. `tell` hears where the work stands."""

    def __init__(self, network: Network, splits: Splits, method: Method, tell: Tell) -> None:
        self.network, self.splits, self.method, self.tell = network, splits, method, tell
        self.reference: Reference = predict(network.module, splits.test)
        self.before = self.reference.evaluate(splits.test)

    def run(
        self,
        recipe: Recipe,
        keep: Path | None = None,
        estimate: Callable[[float], None] = lambda seconds: None,
    ) -> Outcome:
        """Quantizes and evaluates. `estimate` is told how long learned rounding will take before it begins.

        keep  a folder for what is learned so far: a run that was interrupted goes on from there
        """
        began = perf_counter()
        checked = self._check() if self.method.check else None
        quantized = self._quantized(with_range(recipe, self.method.range), keep, estimate)
        after = evaluate(quantized.module, self.splits.test, reference=self.reference)
        return Outcome(quantized, self.before, after, checked, self.splits, perf_counter() - began)

    def _check(self) -> Check:
        return check(
            self.network,
            self.splits.calibration,
            self.splits.test,
            images=self.method.calib_images,
            tell=self.tell,
        )

    def _quantized(
        self, recipe: Recipe, keep: Path | None, estimate: Callable[[float], None]
    ) -> Quantized:
        method = self.method
        kept = (
            None
            if keep is None or method.rounding == "nearest"
            else _Kept(keep / UNFINISHED, recipe, method)
        )

        def report(progress: Progress) -> None:
            if not progress.done:
                estimate(progress.seconds_left)
            self.tell(f"{method.rounding} {progress.unit}", progress.done, progress.total)

        done = quantize(
            self.network, recipe, self.splits.calibration,
            rounding=method.rounding, images=method.calib_images, iterations=method.iterations,
            bias_correction=method.bias_correction, fisher=method.fisher, progress=report,
            save=kept.save if kept else _forget, finished=kept.load() if kept else None,
        )  # fmt: skip
        if kept:
            kept.path.unlink(missing_ok=True)
        return done


def evaluate_checkpoint(
    path: Path | None, settings: Settings, test: str | None
) -> tuple[Network, Evaluation, str]:
    """A checkpoint of a quantized network, or the float network itself, on test images: with what they were, in words.

    `path` may be the folder that `quantize` wrote. Raises E301 to E304, E308, E310 to E312.
    """
    network = load(settings.model, settings.weights, seed=settings.seed, data=settings.data or "")
    images = Splits.of(network, settings.data, test, 1, settings.seed).test
    reference = predict(network.module, images)
    if path is None:
        return network, reference.evaluate(images), images.source
    module = load_quantized(path / MODEL if path.is_dir() else path, network).module
    return network, evaluate(module, images, reference=reference), images.source


def _forget(codes: Mapping[str, Tensor]) -> None: ...


class _Kept:
    """The integers of the units that are finished, in a file that only the same recipe and method read."""

    def __init__(self, path: Path, recipe: Recipe, method: Method) -> None:
        self.path = path
        facts = dumps([recipe.as_json(), asdict(method), torch.__version__])
        self.facts = {"of": blake2b(facts.encode(), digest_size=16).hexdigest()}

    def save(self, codes: Mapping[str, Tensor]) -> None:
        write_atomically(self.path, lambda file: save_file(dict(codes), file, self.facts))

    def load(self) -> Mapping[str, Tensor]:
        try:
            with safe_open(self.path, framework="pt") as file:
                return (
                    {name: file.get_tensor(name) for name in file.keys()}
                    if file.metadata() == self.facts
                    else {}
                )  # noqa: SIM118
        except (OSError, SafetensorError):
            return {}
