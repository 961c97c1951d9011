"""Whether two programs are one, as a screen or as JSON."""

from __future__ import annotations

from dataclasses import asdict

from emqlang.grammar.proof.equivalence import Identity
from emqlang.grammar.text.printer import show
from emqlang.views import render
from emqlang.views.render import Column

SCHEMA = "emqlang.equiv/1"


def screen(found: Identity) -> None:
    for name, program in (("A", found.first), ("B", found.second)):
        render.fields([(name, show(program.elaborated))])
    render.text()
    columns = [Column("level"), Column("verdict"), Column("what it stands on", folds=True)]
    render.table(
        columns, [(level.name, str(level.verdict), level.detail) for level in found.levels]
    )
    render.text()
    render.heading(found.answer)


def as_json(found: Identity) -> None:
    render.json_object({
        "schema": SCHEMA,
        "programs": [show(program.elaborated) for program in (found.first, found.second)],
        "same": found.same,
        "answer": found.answer,
        "levels": [asdict(level) for level in found.levels],
    })  # fmt: skip
