"""Figure 5: accuracy over size, at the budgets of the paper, quantized and not trained."""

from __future__ import annotations

from typing import Final

from emqlang.experiments.bits import UNIFORM, chosen, float_bytes
from emqlang.experiments.trial import Result, Trial
from emqlang.grammar.library import RECOMMENDED
from emqlang.quant.progress import silent
from emqlang.quant.ptq.splits import Splits
from emqlang.tasks.problem import Constraints
from emqlang.tasks.quantize import Quantization, QuantizeOptions
from emqlang.tasks.workbench import WorkbenchOptions

VARIANTS: Final = (
    RECOMMENDED["weights"],
    "hawq_v2",
    "emq",
    "hawq",
    "synflow",
    "qe",
    UNIFORM,
)
FLOAT: Final = 44.6  # MB at 32 bits of the paper's network, of which its budgets are shares
BUDGETS: Final = (3.0, 3.5, 4.0, 4.5, 5.0, 5.5)


def compare(trial: Trial) -> Result:
    """Accuracy of one method's bits at each budget, and the curve over the size, MiB.

    Bits are chosen on statistics of seed 0; the seed is that of the calibration images.
    """
    options = WorkbenchOptions()
    network = options.network()
    how = QuantizeOptions(check=False, uniform=False, calib_images=trial.size)
    splits = Splits.of(network, None, None, how.calib_images, trial.seed)
    quantization = Quantization(network, splits, how, silent)
    whole, recipes = float_bytes(network), {}
    for share in BUDGETS:
        limits = Constraints(
            size=f"{int(share / FLOAT * whole)}B", accounting="emq", hold_unmeasured=True
        )
        recipes[f"{share:g}"] = chosen(trial.variant, options, limits)
    measured: dict[tuple[int, ...], float] = {}  # two budgets may be given the same bits
    figures: dict[str, float] = {}
    curve: dict[float, float] = {}
    for budget, recipe in recipes.items():
        bits = tuple(recipe.bits.values())
        if bits not in measured:
            accuracy = quantization.run(recipe).after.accuracy
            assert accuracy is not None
            measured[bits] = accuracy
        figures[budget] = curve[recipe.achieved["size"] / 2**20] = measured[bits]
    facts = {budget: dict(recipe.bits) for budget, recipe in recipes.items()}
    return Result(figures, tuple(sorted(curve.items())), facts)
