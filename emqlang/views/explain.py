"""What an error code, an op, a statistic or a proxy means."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from emqlang.grammar import signs
from emqlang.grammar.codes import CODES
from emqlang.grammar.diagnostics import error, nearest
from emqlang.grammar.inputs import INPUTS, Input, Kind
from emqlang.grammar.library import LIBRARY
from emqlang.grammar.ops import CALLS, OPS, Op
from emqlang.grammar.paper import NAMES
from emqlang.views import library, render
from emqlang.views.ops import signatures, written
from emqlang.views.render import View

_VALUES: Final = {
    Kind.LAYER: "one number per layer",
    Kind.WEIGHT: "one for each weight, in the weight's shape",
    Kind.IMAGE: "one for each image and label draw",
}


TOPICS: Final = (*CODES, *OPS, *INPUTS, *LIBRARY)


class Explanation(NamedTuple):
    """A title, and names with their explanations."""

    topic: str
    title: str
    fields: list[tuple[str, str]]


def screen(explanation: Explanation) -> None:
    render.heading(explanation.title)
    render.fields(explanation.fields)


def record(explanation: Explanation) -> dict[str, Any]:
    return {
        "schema": "emqlang.explain/1",
        "topic": explanation.topic,
        "title": explanation.title,
        **dict(explanation.fields),
    }


VIEWS: Final = {Explanation: View(screen, record)}


def explain(topic: str) -> Explanation:
    """A code, an op, a statistic or a proxy, explained. Raises E102 for anything else."""
    op = OPS.get(topic) or next((op for op in OPS.values() if op.infix == topic), None)
    if topic.upper() in CODES:
        title, fields = _code(topic.upper())
    elif op is not None:
        title, fields = _op(op)
    elif topic in INPUTS:
        title, fields = _input(INPUTS[topic])
    elif topic in LIBRARY:
        title, fields = f"{topic}: proxy of the library", library.fields(LIBRARY[topic])
    else:
        raise error(
            "E102",
            f"nothing is called '{topic}'",
            *nearest(topic, (*TOPICS, *CALLS, *NAMES)),
            "`emqlang ops` lists the ops and the statistics, `emqlang library` the proxies",
        )
    return Explanation(topic, title, fields)


def index() -> Explanation:
    """Every code with its title, and where the other topics are listed."""
    codes = [(code, row.title) for code, row in CODES.items()]
    others = "`emqlang ops` lists the ops and the statistics, `emqlang library` the proxies"
    return Explanation("", f"codes; {others}", codes)


def _code(code: str) -> tuple[str, list[tuple[str, str]]]:
    row = CODES[code]
    severity = "error" if code[0] == "E" else "warning"
    return f"{severity}[{code}]: {row.title}", [
        ("meaning", row.text),
        ("exit status", str(row.exit) if row.exit else "not changed"),
    ]


def _op(op: Op) -> tuple[str, list[tuple[str, str]]]:
    laws = [law for law in ("commutative", "associative", "idempotent") if getattr(op, law)]
    kinds = [f"{', '.join(takes)} -> {gives}" for takes, gives in signatures(op)]
    return f"{op.name}: {op.cls} op", [
        ("written", written(op)),
        ("computes", op.formula),
        ("protection", op.protection),
        ("stands for", op.expansion),
        ("kinds", "; ".join(kinds)),
        ("laws", ", ".join(laws)),
    ]


def _input(row: Input) -> tuple[str, list[tuple[str, str]]]:
    return f"{row.name}: statistic", [
        ("definition", row.definition),
        ("values", _VALUES.get(row.kind, "sampled elements of the layer's output")),
        ("depends on", str(row.axis)),
        ("sign", signs.describe(row.sign)),
        ("unit", row.unit),
        ("cost", str(row.cost)),
        ("images", "needed" if row.needs_data else "not needed"),
        ("source", row.source.strip("-")),
    ]
