"""What a network is worth on test images."""

from __future__ import annotations

from dataclasses import fields
from math import inf
from typing import Any, Final

from emqlang.quant.ptq.evaluate import SQUARED_ERROR, Evaluation
from emqlang.tasks.evaluate import Evaluated, Integers
from emqlang.views import render
from emqlang.views.eval import network
from emqlang.views.render import Column, View

FORMATS: Final = {
    "accuracy": "{:.2%}",
    "loss": "{:.4f}",
    "agreement": "{:.2%}",
    "kl": "{:.5f} nats",
    "relative_error": "{:.2%}",
    "sqnr": "{:.1f} dB",
    "metric": "{:.6g}",
}
_COLUMNS: Final = ("quantized", "in integers")
TITLES: Final = {"relative_error": "relative error", "sqnr": "output SQNR"}


def screen(evaluated: Evaluated) -> None:
    network(evaluated.network)
    what = [("evaluated", _what(evaluated)), ("test", evaluated.test)]
    if evaluated.integers is None:
        render.fields([*what, *figures(evaluated.evaluation)])
    else:
        render.fields([*what, *_arithmetic(evaluated.integers)])
        render.text()
        _beside(evaluated.evaluation, evaluated.integers.evaluation)
    if evaluated.evaluation.accuracy is None:
        render.text()
        render.note(evaluated.evaluation.basis)


def record(evaluated: Evaluated) -> dict[str, Any]:
    return {
        "schema": "emqlang.evaluate/1",
        "model": evaluated.network.name,
        "evaluated": _what(evaluated),
        "test": evaluated.test,
        **figures_record(evaluated.evaluation),
        "integer": None if evaluated.integers is None else _integer_record(evaluated.integers),
    }


VIEWS: Final = {Evaluated: View(screen, record)}


def _arithmetic(integers: Integers) -> list[tuple[str, str]]:
    """What the integer network takes."""
    layers = sum(not each.pooled for each in integers.accumulators)
    pooled = [each for each in integers.accumulators if each.pooled]
    widest = f"{integers.widest.bits} bits, in '{integers.widest.name}'"
    others = "".join(f"; {each.bits} in '{each.name}'" for each in pooled)
    return [
        ("layers", f"{layers}, every sum proven to fit 32 bits"),
        ("widest sum", f"{widest}{others}"),
        (
            "time",
            f"{integers.seconds:.1f} s in integers, for {integers.evaluation.images:,} images",
        ),
    ]


def _beside(quantized: Evaluation, integer: Evaluation) -> None:
    """Each against the network before it: the float one, and the quantized one."""
    columns = [Column("", style="bold"), *(Column(title, "right") for title in _COLUMNS)]
    ours = dict(figures(integer))
    rows = [(title, value, ours.get(title, "")) for title, value in figures(quantized)]
    render.table(columns, rows)
    render.text()
    compared = [title for title in ours if title in ("agreement", "kl", *TITLES.values())]
    render.note(
        f"{', '.join(compared)}: of the quantized network with the float one, "
        "of the integer network with the quantized one"
    )


def _integer_record(integers: Integers) -> dict[str, Any]:
    rows = [
        {"name": each.name, "bits": each.bits, "pooled": each.pooled}
        for each in integers.accumulators
    ]
    return {
        **figures_record(integers.evaluation),
        "accumulators": rows,
        "widest_bits": integers.widest.bits,
        "seconds": integers.seconds,
    }


def figures(evaluation: Evaluation) -> list[tuple[str, str]]:
    """The measures that were taken, as they are shown."""
    values = {name: getattr(evaluation, name) for name in FORMATS}
    titles = {**TITLES, "metric": evaluation.metric_name}
    if evaluation.loss_name == SQUARED_ERROR:
        titles["loss"] = f"loss ({SQUARED_ERROR})"
    return [
        (titles.get(name) or name, "exact" if value == inf else FORMATS[name].format(value))
        for name, value in values.items()
        if value is not None
    ]


def figures_record(evaluation: Evaluation) -> dict[str, Any]:
    """Every figure by name; None where it was not taken. `sqnr` is infinite where it is exact."""
    names = [field.name for field in fields(Evaluation) if field.name != "drops"]
    return {**{name: getattr(evaluation, name) for name in names}, "sqnr": evaluation.sqnr}


def _what(evaluated: Evaluated) -> str:
    return "the float network" if evaluated.checkpoint is None else str(evaluated.checkpoint)
