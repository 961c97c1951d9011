"""The tables of the language: ops, statistics, and the paper's names."""

from __future__ import annotations

from itertools import product
from typing import Any, Final

from emqlang.grammar import levels, signs
from emqlang.grammar.inputs import INPUTS, Axis, Input, Kind
from emqlang.grammar.kinds import KindError, describe, kind_of
from emqlang.grammar.ops import OPS, VERSION, Class, Op
from emqlang.grammar.paper import NAMES
from emqlang.views import render
from emqlang.views.render import Cell, Column

PAPER_NOTE = (
    "24 unary and 4 binary names; the paper counts each once for scalars and once for matrices, "
    "which makes 56. The names marked inferred are not printed in the paper."
)
_EACH: Final = {
    Axis.NONE: "",
    Axis.WEIGHT_BITS: ", each W",
    Axis.ACT_BITS: ", each A",
    Axis.CHOICE: ", each choice",
}


def screen() -> None:
    """Ops with their values where mathematics has none, and statistics with their definitions."""
    columns: tuple[Column, ...] = (
        Column("op", style="bold"),
        Column("written", style="cyan"),
        Column("computes", folds=True),
        Column("protection", folds=True),
    )
    ops = [(op.name, written(op), op.formula, op.protection) for op in OPS.values()]
    render.table(columns, ops)
    render.text()
    columns = (
        Column("statistic", style="bold"),
        Column("values", style="cyan"),
        Column("what it is", folds=True),
    )
    rows: list[tuple[Cell, ...]] = []
    for row in INPUTS.values():
        source = [row.source] if row.source != "-" else []
        remark = " · ".join([row.unit, str(row.cost), *source])
        rows.append((row.name, f"{row.kind}{_EACH[row.axis]}", (row.definition, remark)))
    render.table(columns, rows)


def record() -> dict[str, Any]:
    """The whole language."""
    return {
        "schema": "emqlang.ops/1",
        "op_table": VERSION,
        "ops": [_op_record(op) for op in OPS.values()],
        "inputs": [_input_record(row) for row in INPUTS.values()],
    }


def paper_screen() -> None:
    columns = (
        Column("name", style="bold"),
        Column("here", style="cyan"),
        Column("as the authors coded it, where that differs", folds=True),
        Column("", style="dim"),
    )
    rows = [
        (op.name, op.text, op.published, "inferred" if op.inferred else "") for op in NAMES.values()
    ]
    render.table(columns, rows)
    render.note(PAPER_NOTE)


def paper_record() -> dict[str, Any]:
    names = [
        {
            "name": op.name,
            "arity": op.arity,
            "index": op.index,
            "stands_for": op.text,
            "published": op.published,
            "inferred": op.inferred,
        }
        for op in NAMES.values()
    ]
    return {"schema": "emqlang.paper/1", "names": names}


def written(op: Op) -> str:
    """How the op is written, over x and y."""
    if op.name == "pow":
        return "x ** c"
    if op.name == "neg":
        return "-x"
    return f"x {op.infix} y" if op.infix else f"{op.name}(x)"


def signatures(op: Op) -> list[tuple[tuple[Kind, ...], str]]:
    """What the op takes and gives, for all kinds that it accepts."""
    level = levels.CONFIGURATION if op.cls is Class.CONFIGURATION else levels.LAYER
    pairs = []
    for kinds in product(Kind, repeat=op.arity):
        try:
            pairs.append((kinds, describe(kind_of(op.name, *kinds), level)))
        except KindError:
            continue
    return pairs


def _op_record(op: Op) -> dict[str, Any]:
    return {
        "name": op.name,
        "written": written(op),
        "class": str(op.cls),
        "arity": op.arity,
        "formula": op.formula,
        "protection": op.protection,
        "commutative": op.commutative,
        "associative": op.associative,
        "idempotent": op.idempotent,
        "expansion": op.expansion,
        "kinds": [
            {"takes": [str(kind) for kind in takes], "gives": gives}
            for takes, gives in signatures(op)
        ],
    }


def _input_record(row: Input) -> dict[str, Any]:
    return {
        "name": row.name,
        "kind": str(row.kind),
        "depends_on": str(row.axis),
        "sign": signs.describe(row.sign),
        "unit": row.unit,
        "cost": str(row.cost),
        "needs_data": row.needs_data,
        "definition": row.definition,
        "source": row.source,
    }
