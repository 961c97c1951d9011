"""What quantization gave, and what a network is worth: as screens and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.check import Check
from emqlang.quant.ptq.evaluate import Evaluation
from emqlang.quant.ptq.recipe import Recipe
from emqlang.tasks.quantize import Outcome
from emqlang.views import eval as report
from emqlang.views import render
from emqlang.views.render import Column

SCHEMA, EVALUATION_SCHEMA = "emqlang.quantize/1", "emqlang.evaluate/1"


def screen(network: Network, done: Outcome, out: Path | None) -> None:
    """The network, the 8-bit check, a row for every layer, and accuracy before and after."""
    recipe, splits = done.quantized.recipe, done.splits
    report.network(network)
    render.fields([
        ("proxy", recipe.proxy.text if recipe.proxy else ""),
        ("calibration", splits.calibration.source),
        ("test", splits.test.source + (", those that calibrate among them" if splits.overlap else "")),
        ("procedure", _procedure(recipe)),
        ("8-bit check", _checked(done.check)),
        ("written to", str(out) if out else ""),
    ])  # fmt: skip
    render.text()
    columns = [Column("layer", style="bold"), *(Column(title, "right") for title in _TITLES)]
    render.table(columns, [(row.name, *_cells(row.weight_bits, row.input_bits, row.weight_sqnr, row.output_sqnr, row.distinct))
                           for row in done.quantized.report])  # fmt: skip
    render.text()
    _compare(done.before, done.after)


def as_json(network: Network, done: Outcome, out: Path | None) -> None:
    render.json_object({
        "schema": SCHEMA,
        "model": {"name": network.name, "weights": network.weights, "weights_sha256": network.weights_sha256},
        "calibration": done.splits.calibration.source,
        "test": done.splits.test.source,
        "check": None if done.check is None else asdict(done.check),
        "before": asdict(done.before),
        "after": asdict(done.after),
        "layers": [_finite(asdict(row)) for row in done.quantized.report],
        "seconds": done.seconds,
        "out": None if out is None else str(out),
    })  # fmt: skip


def evaluated_screen(network: Network, found: Evaluation, what: str, test: str) -> None:
    report.network(network)
    render.fields([("evaluated", what), ("test", test), *_figures(found)])


def evaluated_json(network: Network, found: Evaluation, what: str, test: str) -> None:
    render.json_object(
        {
            "schema": EVALUATION_SCHEMA,
            "model": network.name,
            "evaluated": what,
            "test": test,
            **asdict(found),
        }
    )


_TITLES = ("W", "A", "weight SQNR", "output SQNR", "values")


def _cells(
    weight_bits: int | None, input_bits: int | None, weight: float, output: float, distinct: int
) -> tuple[str, ...]:
    widths = (str(bits) if bits else "float" for bits in (weight_bits, input_bits))
    ratios = (f"{ratio:.1f} dB" if isfinite(ratio) else "exact" for ratio in (weight, output))
    return (*widths, *ratios, str(distinct))


def _procedure(recipe: Recipe) -> str:
    done = recipe.procedure
    if done is None:
        return ""
    parts = [done.rounding, f"{done.iterations:,} iterations a unit" if done.iterations else "", f"{done.images:,} images",
             "bias correction" * done.bias_correction, "Fisher weighting" * done.fisher]  # fmt: skip
    return ", ".join(filter(None, parts))


def _checked(check: Check | None) -> str:
    if check is None:
        return "not made"
    line = f"{check.measure} {check.score:.2%}, float {check.float_score:.2%}: {'passed' if check.passed else 'FAILED'}"
    suspects = (
        f"{suspect.layer} alone costs {suspect.loss:.2%}: {suspect.cause}"
        for suspect in check.suspects
    )
    return "\n".join((line, *suspects))


def _compare(before: Evaluation, after: Evaluation) -> None:
    rows = [(name, *pair) for (name, *pair) in _pairs(before, after)]
    render.table(
        [Column("", style="bold"), Column("float", "right"), Column("quantized", "right")], rows
    )
    if before.accuracy is None:
        render.text()
        render.note(before.basis)


def _pairs(before: Evaluation, after: Evaluation) -> list[tuple[str, str, str]]:
    own = dict(_figures(before))
    return [(name, own.get(name, ""), value) for name, value in _figures(after)]


def _figures(found: Evaluation) -> list[tuple[str, str]]:
    forms = {
        "accuracy": "{:.2%}",
        "loss": "{:.4f}",
        "agreement": "{:.2%}",
        "kl": "{:.5f} nats",
        "metric": "{:.6g}",
    }
    values = {name: getattr(found, name) for name in forms}
    return [
        (name, forms[name].format(value)) for name, value in values.items() if value is not None
    ]


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value if not isinstance(value, float) or isfinite(value) else None
        for name, value in row.items()
    }
