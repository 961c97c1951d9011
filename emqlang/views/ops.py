"""What `ops`, `models` and `explain` say: every table of the language, as records and as rows for people."""

from __future__ import annotations

from itertools import product
from typing import Any

from emqlang.grammar import signs
from emqlang.grammar.diagnostics import CODES, error, nearest
from emqlang.grammar.inputs import INPUTS, Axis, Input, Kind
from emqlang.grammar.kinds import KindError, kind_of
from emqlang.grammar.ops import CALLS, OPS, VERSION, Op
from emqlang.grammar.paper import NAMES
from emqlang.quant.models import MODELS, ModelSpec
from emqlang.views.render import Cell, Column

Fields = list[tuple[str, str]]
Table = tuple[tuple[Column, ...], list[tuple[Cell, ...]]]


def written(op: Op) -> str:
    """How the op is written, over x and y."""
    if op.name == "pow":
        return "x ** c"
    if op.name == "neg":
        return "-x"
    return f"x {op.infix} y" if op.infix else f"{op.name}(x)"


def op_record(op: Op) -> dict[str, Any]:
    """One row of `ops --json`."""
    return {
        "name": op.name, "written": written(op), "class": str(op.cls), "arity": op.arity, "formula": op.formula,
        "protection": op.protection, "commutative": op.commutative, "associative": op.associative,
        "idempotent": op.idempotent, "expansion": op.expansion,
        "kinds": [{"takes": [str(k) for k in takes], "gives": str(gives)} for takes, gives in _signatures(op)],
    }  # fmt: skip


def input_record(row: Input) -> dict[str, Any]:
    """One row of `ops --json`."""
    return {
        "name": row.name, "kind": str(row.kind), "depends_on": str(row.axis), "sign": signs.describe(row.sign), "unit": row.unit,
        "cost": str(row.cost), "needs_data": row.needs_data, "definition": row.definition, "source": row.source,
    }  # fmt: skip


def language_record() -> dict[str, Any]:
    """`emqlang ops --json`: the whole language."""
    return {
        "schema": "emqlang.ops/1", "op_table": VERSION,
        "ops": [op_record(op) for op in OPS.values()], "inputs": [input_record(row) for row in INPUTS.values()],
    }  # fmt: skip


def models_record() -> dict[str, Any]:
    """`emqlang models --json`."""
    return {
        "schema": "emqlang.models/1",
        "models": [_model_record(model) for model in MODELS.values()],
    }


def paper_record() -> dict[str, Any]:
    """`emqlang ops --paper --json`."""
    rows = (
        {
            "name": op.name,
            "arity": op.arity,
            "index": op.index,
            "stands_for": op.text,
            "published": op.published,
            "inferred": op.inferred,
        }
        for op in NAMES.values()
    )
    return {"schema": "emqlang.paper/1", "names": list(rows)}


PAPER_NOTE = (
    "24 unary and 4 binary names; the paper counts each once for scalars and once for matrices, which makes 56. "
    "The names marked inferred are not printed in the paper."
)


def paper_table() -> Table:
    """The paper's names and what they stand for here."""
    columns = (
        Column("name", style="bold"),
        Column("here", style="cyan"),
        Column("as the authors coded it, where that differs", folds=True),
        Column("", style="dim"),
    )
    return columns, [
        (op.name, op.text, op.published, "inferred" if op.inferred else "") for op in NAMES.values()
    ]


def op_table() -> Table:
    """Every op: how it is written, what it computes, and its value where mathematics has none."""
    columns = (
        Column("op", style="bold"),
        Column("written", style="cyan"),
        Column("computes", folds=True),
        Column("protection", folds=True),
    )
    return columns, [(op.name, written(op), op.formula, op.protection) for op in OPS.values()]


def input_table() -> Table:
    """Every statistic: how many values, what it is, its unit, what it costs and where it comes from."""
    columns = (
        Column("statistic", style="bold"),
        Column("values", style="cyan"),
        Column("what it is", folds=True),
    )
    rows: list[tuple[Cell, ...]] = []
    for row in INPUTS.values():
        remark = " · ".join((row.unit, str(row.cost), *([row.source] if row.source != "-" else [])))
        rows.append((row.name, values(row), (row.definition, remark)))
    return columns, rows


def model_table() -> Table:
    """Every built-in network: what it takes and gives, and where its weights come from."""
    columns = (
        Column("model", style="bold"),
        Column("what it is", folds=True),
        Column("input"),
        Column("classes", "right"),
        Column("weights", style="dim"),
    )
    return columns, [
        (m.name, m.description, m.images.size, str(m.classes), _weights(m)) for m in MODELS.values()
    ]


def values(row: Input) -> str:
    """How many values there are for a layer: `weight`, `layer, each W`, ..."""
    each = {
        Axis.NONE: "",
        Axis.WEIGHT_BITS: ", each W",
        Axis.ACT_BITS: ", each A",
        Axis.CHOICE: ", each choice",
    }
    return f"{row.kind}{each[row.axis]}"


def explain(topic: str) -> tuple[str, Fields]:
    """A title, and names with their explanations, for a code, an op or a statistic. Raises E102 for anything else."""
    if topic.upper() in CODES:
        return _explain_code(topic.upper())
    op = OPS.get(topic) or next((op for op in OPS.values() if op.infix == topic), None)
    if op is not None:
        return _explain_op(op)
    if topic in INPUTS:
        return _explain_input(INPUTS[topic])
    known = (*CODES, *CALLS, *INPUTS, *NAMES)
    raise error(
        "E102",
        f"nothing is called '{topic}'",
        *nearest(topic, known),
        "emqlang ops lists the ops and the statistics",
    )


def _model_record(spec: ModelSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "description": spec.description,
        "input_shape": spec.images.shape,
        "classes": spec.classes,
        "weights": _weights(spec),
    }


def _weights(spec: ModelSpec) -> str:
    return "shipped" if spec.embedded else "torchvision's" if spec.checkpoint else "random"


def _explain_code(code: str) -> tuple[str, Fields]:
    row = CODES[code]
    severity = "error" if code[0] == "E" else "warning"
    return f"{severity}[{code}]: {row.title}", [
        ("meaning", row.text),
        ("exit status", str(row.exit) if row.exit else "not changed"),
    ]


def _explain_op(op: Op) -> tuple[str, Fields]:
    laws = [law for law in ("commutative", "associative", "idempotent") if getattr(op, law)]
    return f"{op.name}: {op.cls} op", [
        ("written", written(op)),
        ("computes", op.formula),
        ("protection", op.protection),
        ("stands for", op.expansion),
        ("kinds", "; ".join(f"{', '.join(takes)} -> {gives}" for takes, gives in _signatures(op))),
        ("laws", ", ".join(laws)),
    ]


def _explain_input(row: Input) -> tuple[str, Fields]:
    return f"{row.name}: statistic", [
        ("definition", row.definition),
        (
            "values",
            {
                Kind.LAYER: "one number a layer",
                Kind.WEIGHT: "one for each weight, in the weight's shape",
            }.get(row.kind, "sampled elements of the layer's output"),
        ),
        ("depends on", str(row.axis)),
        ("sign", signs.describe(row.sign)),
        ("unit", row.unit),
        ("cost", str(row.cost)),
        ("images", "needed" if row.needs_data else "not needed"),
        ("source", row.source.strip("-")),
    ]


def _signatures(op: Op) -> list[tuple[tuple[Kind, ...], Kind]]:
    """What the op takes and gives, for all kinds that it accepts."""
    found = []
    for kinds in product(Kind, repeat=op.arity):
        try:
            found.append((kinds, kind_of(op.name, *kinds)))
        except KindError:
            continue
    return found
