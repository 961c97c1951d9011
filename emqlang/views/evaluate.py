"""What a network is worth on test images."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from emqlang.quant.ptq.evaluate import Evaluation
from emqlang.tasks.evaluate import Evaluated
from emqlang.views import render
from emqlang.views.eval import network
from emqlang.views.render import View

FORMATS: Final = {
    "accuracy": "{:.2%}",
    "loss": "{:.4f}",
    "agreement": "{:.2%}",
    "kl": "{:.5f} nats",
    "metric": "{:.6g}",
}


def screen(evaluated: Evaluated) -> None:
    network(evaluated.network)
    what = [("evaluated", _what(evaluated)), ("test", evaluated.test)]
    render.fields([*what, *figures(evaluated.evaluation)])


def record(evaluated: Evaluated) -> dict[str, Any]:
    return {
        "schema": "emqlang.evaluate/1",
        "model": evaluated.network.name,
        "evaluated": _what(evaluated),
        "test": evaluated.test,
        **asdict(evaluated.evaluation),
    }


VIEWS: Final = {Evaluated: View(screen, record)}


def figures(evaluation: Evaluation) -> list[tuple[str, str]]:
    """The measures that were taken, as they are shown."""
    values = {name: getattr(evaluation, name) for name in FORMATS}
    return [(name, FORMATS[name].format(v)) for name, v in values.items() if v is not None]


def _what(evaluated: Evaluated) -> str:
    return "the float network" if evaluated.checkpoint is None else str(evaluated.checkpoint)
