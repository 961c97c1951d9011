"""Whether two programs are one, as a screen or as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from emqlang.grammar.program import Program
from emqlang.grammar.proof.equivalence import Level, Verdict, compare
from emqlang.grammar.text.printer import show
from emqlang.views import render
from emqlang.views.render import Column

SCHEMA = "emqlang.equiv/1"


@dataclass(frozen=True)
class Identity:
    """Two programs, and every level's answer."""

    first: Program
    second: Program
    levels: tuple[Level, ...]

    @classmethod
    def of(cls, first: Program, second: Program, seconds: float) -> Identity:
        return cls(first, second, tuple(compare(first.elaborated, second.elaborated, seconds)))

    @property
    def same(self) -> bool:
        """Whether a proof says so."""
        return any(level.proof and level.verdict is Verdict.SAME for level in self.levels)

    @property
    def answer(self) -> str:
        if self.same:
            return "the same proxy"
        verdicts = {level.verdict for level in self.levels}
        if Verdict.DIFFERENT in verdicts:
            return "different proxies"
        if Verdict.OPPOSITE in verdicts:
            return "opposite proxies, as far as small layers tell: one ranks as the negative of the other"
        return (
            "not proven, though no small layer tells them apart"
            if Verdict.SAME in verdicts
            else "nothing proves it either way"
        )


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
