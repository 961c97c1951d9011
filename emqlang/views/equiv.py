"""Whether two programs are one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from emqlang.grammar.proof.equivalence import Identity
from emqlang.grammar.text.printer import show
from emqlang.views import render
from emqlang.views.render import Column, View


def screen(identity: Identity) -> None:
    for name, program in (("A", identity.first), ("B", identity.second)):
        render.fields([(name, show(program.elaborated))])
    render.text()
    columns = [Column("level"), Column("verdict"), Column("what it stands on", folds=True)]
    rows = [(level.name, str(level.verdict), level.detail) for level in identity.levels]
    render.table(columns, rows)
    render.text()
    render.heading(identity.answer)


def record(identity: Identity) -> dict[str, Any]:
    return {
        "schema": "emqlang.equiv/1",
        "programs": [show(program.elaborated) for program in (identity.first, identity.second)],
        "same": identity.same,
        "answer": identity.answer,
        "levels": [asdict(level) for level in identity.levels],
    }


VIEWS: Final = {Identity: View(screen, record)}
