"""Tables 4 to 7: accuracy in float, quantized, and trained quantized, by bits of several methods.

Bits are chosen once, on statistics of seed 0. A trial's seed is that of the calibration images, of
the images that validate, and of the order in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Final

from emqlang.experiments.bits import UNIFORM, average_bits, chosen, float_bytes, random
from emqlang.experiments.trial import Result, Task, Trial
from emqlang.grammar.library import RECOMMENDED
from emqlang.quant.networks.network import Network
from emqlang.quant.progress import silent
from emqlang.quant.ptq.recipe import Recipe
from emqlang.quant.ptq.splits import Splits
from emqlang.tasks.problem import Constraints
from emqlang.tasks.qat import Qat, QatOptions, train
from emqlang.tasks.quantize import Quantization, QuantizeOptions
from emqlang.tasks.workbench import WorkbenchOptions

RANDOM: Final = "20 random"
CONFIGURATIONS: Final = 20  # of RANDOM, that are quantized and not trained
PROXIES: Final = (RECOMMENDED["weights"], "emq", "hawq_v2")
PAPER_SHARE: Final = 6.7 / 44.6  # of the size in float: the paper's Table 4
RECIPE: Final = "recipe.json"


@dataclass(frozen=True)
class Setting:
    """What a part of the tables has in common.

    average  of the weights' bits; None for the paper's share of the size in float
    menu     of bits
    fixed    layers whose bits are given, as `--fix` takes them
    preset   of the training; None for 2 epochs
    """

    network: str
    average: float | None
    act_bits: int = 8
    menu: str = "2,3,4"
    fixed: str = ""
    preset: str | None = None

    @property
    def options(self) -> WorkbenchOptions:
        return WorkbenchOptions(model=self.network, bits=self.menu)

    def limits(self, network: Network) -> Constraints:
        limits = Constraints(
            act_bits=self.act_bits, fix=self.fixed, accounting="emq", hold_unmeasured=True
        )
        if self.average is not None:
            return replace(limits, avg_bits=f"{self.average:g}")
        return replace(limits, size=f"{int(PAPER_SHARE * float_bytes(network))}B")

    @property
    def title(self) -> str:
        bits = "paper's size" if self.average is None else f"W{self.average:g}"
        return f"{self.network} {bits} A{self.act_bits}"


MAIN: Final = tuple(Setting("resnet18-fmnist", average) for average in (2.5, 3.0))
NARROW: Final = tuple(Setting("resnet18-fmnist", 3.0, bits) for bits in (6, 4))
OTHERS: Final = tuple(Setting(name, 3.0) for name in ("vgg-fmnist", "mobilenetv2-fmnist"))
PAPER: Final = Setting(
    "resnet18-fmnist", None, menu="4,5,6,7,8", fixed="conv1=8,fc=8", preset="paper"
)


@dataclass(frozen=True)
class Row:
    """One row of the tables: the bits that a method chooses, quantized and trained."""

    setting: Setting
    method: str


def _rows() -> dict[str, Row]:
    found = {}
    for setting in (*MAIN, *NARROW, *OTHERS, PAPER):
        whole = setting.average == 3 or setting.average is None
        for method in (*PROXIES, UNIFORM if whole else RANDOM):
            found[f"{setting.title}, {method}"] = Row(setting, method)
    return found


ROWS: Final[Mapping[str, Row]] = _rows()
ONCE: Final = frozenset(name for name, row in ROWS.items() if row.setting not in MAIN)


def training(rows: Mapping[str, Row]) -> Task:
    """The task of an experiment whose variants are these."""
    return partial(quantize_and_train, dict(rows))


def quantize_and_train(rows: Mapping[str, Row], trial: Trial) -> Result:
    """One row, trained on `size` images an epoch; an interrupted training is gone on with."""
    row = rows[trial.variant]
    options = row.setting.options
    network = options.network()
    limits = row.setting.limits(network)
    if row.method == RANDOM:
        return _quantized(row.setting, network, limits, trial.seed)
    recipe = chosen(row.method, options, limits)
    path = trial.folder / RECIPE
    recipe.save(path)
    options = WorkbenchOptions(seed=trial.seed)
    settings = QatOptions(train_images=trial.size, preset=row.setting.preset)
    done = train(path, options, settings, {"seed"}, trial.folder / "trained", silent)
    return Result(_figures(done, recipe), facts={"bits": dict(recipe.bits)})


def _quantized(setting: Setting, network: Network, limits: Constraints, seed: int) -> Result:
    """The median of random bits, quantized and not trained."""
    assert setting.average is not None
    options = setting.options
    recipes = random(setting.average, CONFIGURATIONS, options, limits, seed)
    how = QuantizeOptions(check=False, uniform=False)
    splits = Splits.of(network, None, None, how.calib_images, seed)
    quantization = Quantization(network, splits, how, silent)
    found = [quantization.run(recipe) for recipe in recipes]
    accuracies = [one.after.accuracy for one in found if one.after.accuracy is not None]
    assert quantization.before.accuracy is not None
    figures = {
        "float": quantization.before.accuracy,
        "quantized": median(accuracies),
        "bits": median(average_bits(recipe, network) for recipe in recipes),
        "MiB": median(_size(recipe) for recipe in recipes),
        "seconds": sum(one.seconds for one in found),
    }
    return Result(figures, facts={"quantized": accuracies})


def _figures(done: Qat, recipe: Recipe) -> dict[str, float]:
    """The share that is recovered is of what quantizing lost, where it lost anything."""
    states = {"float": done.floating, "quantized": done.before, "trained": done.after}
    figures = {name: found.accuracy for name, found in states.items() if found.accuracy is not None}
    lost = figures["float"] - figures["quantized"]
    recovered = (
        {"recovered": 1 - (figures["float"] - figures["trained"]) / lost} if lost > 0 else {}
    )
    return {
        **figures,
        **recovered,
        "bits": average_bits(recipe, done.network),
        "MiB": _size(recipe),
        "seconds": done.seconds,
    }


def _size(recipe: Recipe) -> float:
    return recipe.achieved["size"] / 2**20
