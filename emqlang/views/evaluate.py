"""What a network is worth on test images."""

from __future__ import annotations

from dataclasses import fields
from math import inf
from typing import Any, Final

from emqlang.quant.ptq.evaluate import SQUARED_ERROR, Evaluation
from emqlang.tasks.evaluate import Evaluated
from emqlang.views import render
from emqlang.views.eval import network
from emqlang.views.render import View

FORMATS: Final = {
    "accuracy": "{:.2%}",
    "loss": "{:.4f}",
    "agreement": "{:.2%}",
    "kl": "{:.5f} nats",
    "relative_error": "{:.2%}",
    "sqnr": "{:.1f} dB",
    "metric": "{:.6g}",
}
TITLES: Final = {"relative_error": "relative error", "sqnr": "output SQNR"}


def screen(evaluated: Evaluated) -> None:
    network(evaluated.network)
    what = [("evaluated", _what(evaluated)), ("test", evaluated.test)]
    render.fields([*what, *figures(evaluated.evaluation)])
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
    }


VIEWS: Final = {Evaluated: View(screen, record)}


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
