"""What quantization gave: the procedure, a row for every layer, and accuracy before and after."""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite
from typing import Any, Final

from msgspec import to_builtins

from emqlang.quant.ptq.check import Check
from emqlang.quant.ptq.fidelity import LayerReport
from emqlang.quant.ptq.recipe import Recipe
from emqlang.tasks.quantize import Beside, Comparison
from emqlang.views import render
from emqlang.views.eval import network
from emqlang.views.evaluate import figures, figures_record
from emqlang.views.render import Column, View

TITLES = ("W", "A", "weight SQNR", "output SQNR", "values")


def screen(comparison: Comparison) -> None:
    recipe, splits = comparison.quantized.recipe, comparison.splits
    overlap = ", calibration images among them" if splits.overlap else ""
    network(comparison.network)
    render.fields(
        [
            ("proxy", recipe.proxy.text if recipe.proxy else ""),
            ("calibration", splits.calibration.source),
            ("test", splits.test.source + overlap),
            ("procedure", _procedure(recipe)),
            ("8-bit check", _checked(comparison.check)),
            ("written to", str(comparison.out) if comparison.out else ""),
        ]
    )
    render.text()
    columns = [Column("layer", style="bold"), *(Column(title, "right") for title in TITLES)]
    render.table(columns, [_cells(row) for row in comparison.quantized.report])
    render.text()
    _compare(comparison)


def record(comparison: Comparison) -> dict[str, Any]:
    net, splits = comparison.network, comparison.splits
    return {
        "schema": "emqlang.quantize/1",
        "model": {"name": net.name, "weights": net.weights, "weights_sha256": net.weights_sha256},
        "calibration": splits.calibration.source,
        "test": splits.test.source,
        "check": None if comparison.check is None else asdict(comparison.check),
        "before": figures_record(comparison.before),
        "after": figures_record(comparison.after),
        "beside": comparison.beside and _beside_record(comparison.beside),
        "layers": [asdict(row) for row in comparison.quantized.report],
        "seconds": comparison.seconds,
        "out": None if comparison.out is None else str(comparison.out),
    }


VIEWS: Final = {Comparison: View(screen, record)}


def _cells(row: LayerReport) -> tuple[str, ...]:
    widths = [str(bits) if bits else "float" for bits in (row.weight_bits, row.input_bits)]
    ratios = [_ratio(row.weight_sqnr), _ratio(row.output_sqnr)]
    return (row.name, *widths, *ratios, str(row.distinct))


def _ratio(ratio: float | None) -> str:
    if ratio is None:
        return "not available"  # float and quantized gave the layer other rows
    return f"{ratio:.1f} dB" if isfinite(ratio) else "exact"


def _procedure(recipe: Recipe) -> str:
    procedure = recipe.procedure
    if procedure is None:
        return ""
    parts = [
        procedure.rounding,
        f"{procedure.iterations:,} iterations per unit" if procedure.iterations else "",
        f"{procedure.images:,} images",
        "bias correction" * procedure.bias_correction,
        "Fisher weighting" * procedure.fisher,
    ]
    return ", ".join(filter(None, parts))


def _checked(check: Check | None) -> str:
    if check is None:
        return "not made"
    verdict = {True: "passed", False: "FAILED", None: "a drop that they cannot tell from chance"}
    line = (
        f"{check.measure} {check.score:.2%}, float {check.float_score:.2%} "
        f"on {check.images:,} images: {verdict[check.passed]}"
    )
    suspects = [
        f"{suspect.layer} alone costs {suspect.loss:.2%}: {suspect.cause}"
        for suspect in check.suspects
    ]
    return "\n".join((line, *suspects))


def _compare(comparison: Comparison) -> None:
    """Float, quantized, and uniform bits at the same budget."""
    before, beside = comparison.before, comparison.beside
    columns = [Column("", style="bold"), Column("float", "right"), Column("quantized", "right")]
    others = [dict(figures(before)), {}]
    if beside is not None and beside.uniform is not None and beside.evaluation is not None:
        columns.append(Column(f"uniform {beside.uniform.choice}", "right"))
        others[1] = dict(figures(beside.evaluation))
    rows = [
        (name, others[0].get(name, ""), value, others[1].get(name, ""))[: len(columns)]
        for name, value in figures(comparison.after)
    ]
    render.table(columns, rows)
    if beside is not None and beside.uniform is None:
        render.text()
        render.note("no uniform bits beside it: no single choice for all groups meets the budget")
    if before.accuracy is None:
        render.text()
        render.note(before.basis)


def _beside_record(beside: Beside) -> dict[str, Any]:
    """`uniform` is null where no single choice for all groups meets the budget."""
    uniform = beside.uniform
    named = None if uniform is None else to_builtins(uniform)
    figures = None if beside.evaluation is None else figures_record(beside.evaluation)
    return {"uniform": named, "after": figures}
