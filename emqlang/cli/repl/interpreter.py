"""What a statement of the REPL means: the network, the table, and what names stand for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from emqlang.cli.repl.commands import COMMANDS
from emqlang.grammar.diagnostics import error, nearest
from emqlang.grammar.expr import Expr
from emqlang.grammar.files import load_line
from emqlang.grammar.library import LIBRARY
from emqlang.grammar.program import Program, parse
from emqlang.grammar.text.tokens import BINDING
from emqlang.tasks.eval import evaluate
from emqlang.tasks.judge import Judge
from emqlang.tasks.workbench import Workbench, WorkbenchOptions
from emqlang.views import eval as evaluation
from emqlang.views import exploration, render, ticker

SOURCE: Final = "<repl>"
LAST: Final = "_"  # the last result


class Interpreter:
    """One conversation.

    judge    the table to rank on; None where none is loaded
    bound    names in the order of binding
    last     what was evaluated last, under `_`
    leaving  whether :quit was said
    """

    def __init__(self, workbench: Workbench, judge: Judge | None = None) -> None:
        self.workbench, self.judge = workbench, judge
        self.bound: dict[str, Program] = {}
        self.last: Program | None = None
        self.leaving = False

    @property
    def names(self) -> Mapping[str, Expr]:
        """What a name stands for here: the library's, the bound ones, and the last result."""
        last = {} if self.last is None else {LAST: self.last}
        named = {**LIBRARY, **self.bound, **last}
        return {name: program.expr for name, program in named.items()}

    def words(self) -> Iterable[str]:
        """What completion offers that is not a word of the language: bound names, commands."""
        return (*self.bound, *(f":{name}" for name in COMMANDS))

    def execute(self, statement: str) -> None:
        """Run one complete statement: a command, a binding, or an expression. Raises EmqError."""
        if statement.lstrip().startswith(":"):
            self._command(statement.strip())
        elif BINDING.match(statement):
            self._bind(statement)
        elif any(line.partition("#")[0].strip() for line in statement.split("\n")):
            self.evaluate(statement)

    def program(self, text: str) -> Program:
        """An expression over the names known here; `_` if the text is empty.

        A name alone is what it names, with what the proxy was made for.
        """
        name = text.strip() or LAST
        if name == LAST and self.last is not None:
            return self.last
        if name in self.bound:
            return self.bound[name]
        if name in LIBRARY:
            return LIBRARY[name]
        return parse(text if text.strip() else LAST, SOURCE, self.names)

    def evaluate(self, text: str) -> None:
        """Score an expression on the network and rank it on the table; it is `_` from now on."""
        program = self.program(text)
        render.diagnostics(program.warnings)
        with self.working():
            result = evaluate(self.workbench.fitted(program.domain), [program])
        render.diagnostics(result.diagnostics)
        evaluation.screen(result)
        self.last = program
        if self.judge is not None:
            with self.working():
                ranking = self.judge.place(program)
            exploration.place(program, ranking)

    @contextmanager
    def working(self) -> Iterator[None]:
        """While something is computed, its progress is on the screen."""
        with ticker.progress() as progress:
            self.workbench.report_to(progress)
            if self.judge is not None:
                self.judge.bench.report_to(progress)
            yield

    def _bind(self, statement: str) -> None:
        """`name = expression`; a later line may bind the name anew."""
        program = load_line(statement, SOURCE, self.names)
        render.diagnostics(program.warnings)
        self.bound[program.name] = program

    def _command(self, statement: str) -> None:
        word, _, rest = statement[1:].partition(" ")
        meant = [name for name in COMMANDS if word and name.startswith(word)]
        meant = [word] if word in COMMANDS else meant
        if len(meant) > 1:
            raise error("E403", f"':{word}' may mean {' or '.join(f':{name}' for name in meant)}")
        if not meant:
            help = (*nearest(word, COMMANDS), ":help lists the commands")
            raise error("E403", f"there is no command ':{word}'", *help)
        COMMANDS[meant[0]].run(self, rest.strip())


def load(options: Mapping[str, Any], table: str) -> Interpreter:
    """The network and the table that the command line names. Raises EmqError."""
    workbench = Workbench(WorkbenchOptions(**options))
    _ = workbench.network
    judge = Judge.of(table, workbench) if table else Judge.at_hand(workbench)
    return Interpreter(workbench, judge)
