"""`emqlang repl`: expressions on a network that stays loaded, line by line."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, TextIO

from emqlang.grammar.diagnostics import EXIT_OK, EmqError, error, nearest
from emqlang.grammar.expr import Expr
from emqlang.grammar.files import load_line
from emqlang.grammar.inputs import INPUTS
from emqlang.grammar.library import LIBRARY
from emqlang.grammar.ops import CALLS
from emqlang.grammar.program import Program, parse
from emqlang.grammar.text import printer
from emqlang.grammar.text.tokens import BINDING, open_bracket
from emqlang.store import write_text
from emqlang.tasks.eval import evaluate
from emqlang.tasks.outputs import Output
from emqlang.tasks.workbench import Workbench, WorkbenchOptions
from emqlang.views import eval as evaluation
from emqlang.views import explain, ops, render, show

SOURCE, LAST = "<repl>", "_"
SHAPE = re.compile(r"\d+(x\d+)+")
PROMPT, MORE = "emq> ", "...> "
HISTORY = 10_000  # lines that are kept


class Repl:
    """One conversation: the network, what names stand for, and the last result under `_`."""

    def __init__(self, workbench: Workbench) -> None:
        self.workbench = workbench
        self.bound: dict[str, Expr] = {}  # in the order of binding
        self.last: dict[str, Expr] = {}
        self.leaving = False

    @property
    def names(self) -> Mapping[str, Expr]:
        """What a name stands for here: the library's, the bound ones, and the last result."""
        return {name: program.expr for name, program in LIBRARY.items()} | self.bound | self.last

    def execute(self, statement: str) -> None:
        """Run one complete statement: a command, a binding, or an expression. Raises EmqError."""
        if statement.lstrip().startswith(":"):
            self._command(statement.strip())
        elif BINDING.match(statement):
            self._bind(statement)
        elif any(line.partition("#")[0].strip() for line in statement.split("\n")):
            self.evaluate(statement)

    def program(self, text: str) -> Program:
        """An expression over the names known here; `_` if the text is empty."""
        return parse(text or LAST, SOURCE, self.names)

    def evaluate(self, text: str) -> None:
        """Score an expression on the loaded network, show the table, and keep it as `_`."""
        program = self.program(text)
        render.diagnostics(program.warnings)
        result = evaluate(self.workbench, [program])
        render.diagnostics(result.diagnostics)
        evaluation.screen(result)
        self.last = {LAST: program.expr}

    def _bind(self, statement: str) -> None:
        """`name = expression`; a later line may bind the name anew."""
        program = load_line(statement, SOURCE, self.names)
        render.diagnostics(program.warnings)
        self.bound[program.name] = program.expr

    def _command(self, statement: str) -> None:
        word, _, rest = statement[1:].partition(" ")
        meant = (
            [word]
            if word in COMMANDS
            else [name for name in COMMANDS if word and name.startswith(word)]
        )
        if len(meant) > 1:
            raise error("E403", f"':{word}' may mean {' or '.join(f':{name}' for name in meant)}")
        if not meant:
            raise error(
                "E403",
                f"there is no command ':{word}'",
                *nearest(word, COMMANDS),
                ":help lists the commands",
            )
        COMMANDS[meant[0]](self, rest.strip())


def _model(repl: Repl, rest: str) -> None:
    """:model [NAME ...]        name the network, or load one: NAME WEIGHTS DATA 1x28x28"""
    if rest:
        another = Workbench(_another(repl.workbench.options, rest))
        evaluation.network(another.network)
        render.diagnostics(another.new(another.network.warnings))
        repl.workbench = another
    else:
        evaluation.network(repl.workbench.network)


def _another(options: WorkbenchOptions, words: str) -> WorkbenchOptions:
    """A network by name, and in any order its weights, its data, and the shape of an image."""
    name, *rest = words.split()
    shapes = [word for word in rest if SHAPE.fullmatch(word)]
    others = [word for word in rest if word not in shapes]
    if len(shapes) > 1 or len(others) > 2:
        form = ":model my_net.py:build my.pth my.py:data 1x28x28"
        raise error("E403", "':model' takes fewer words", form)
    weights, data = (*others, None, None)[:2]
    return replace(
        options,
        model=name,
        weights=weights,
        data=data or options.data,
        input=shapes[0] if shapes else None,
    )


def _ops(repl: Repl, rest: str) -> None:
    """:ops [NAME]              list ops and statistics, or explain one"""
    if rest:
        explain.screen(explain.explain(rest))
    else:
        ops.screen()


def _kind(repl: Repl, rest: str) -> None:
    """:kind [EXPR]             kinds, signs and choices of every part"""
    render.tree(show.kinds(repl.program(rest)))


def _canonical(repl: Repl, rest: str) -> None:
    """:canonical [EXPR]        the canonical form and its key"""
    render.tree(show.canonical(repl.program(rest)))


def _graph(repl: Repl, rest: str) -> None:
    """:graph [EXPR]            the canonical form as a graph"""
    render.tree(show.graph(repl.program(rest)))


def _time(repl: Repl, rest: str) -> None:
    """:time [EXPR]             evaluate, and say how long it took"""
    timed = evaluate(repl.workbench, [repl.program(rest)])
    statistics, evaluation = timed.statistics_seconds, timed.evaluation_seconds
    render.note(f"statistics {statistics:.3f} s, evaluation {evaluation:.6f} s")


def _save(repl: Repl, rest: str) -> None:
    """:save FILE               write what was bound to an .emq file; --force replaces one"""
    words = rest.split()
    force, rest = "--force" in words, " ".join(word for word in words if word != "--force")
    if not rest:
        raise error("E403", "':save' needs a file name", ":save proxies.emq")
    lines = [f"{name} = {printer.show(expr)}\n" for name, expr in repl.bound.items()]
    with Output().claimed(Path(rest), force=force):
        write_text(Path(rest), "".join(lines))
    render.note(f"{len(lines)} {'name' if len(lines) == 1 else 'names'} written to {rest}")


def _help(repl: Repl, rest: str) -> None:
    """:help                    this list; any prefix that is clear will do"""
    render.text("EXPR                     evaluate on the loaded network; _ is the last one")
    render.text("NAME = EXPR              bind a name; the library's names are known too")
    for command in COMMANDS.values():
        render.text(command.__doc__ or "")


def _quit(repl: Repl, rest: str) -> None:
    """:quit                    leave, as Ctrl-D does"""
    repl.leaving = True


COMMANDS: Final[Mapping[str, Callable[[Repl, str], None]]] = {
    "model": _model,
    "ops": _ops,
    "kind": _kind,
    "canonical": _canonical,
    "graph": _graph,
    "time": _time,
    "save": _save,
    "help": _help,
    "quit": _quit,
}


def start(repl: Repl, stream: TextIO) -> int:
    """Talk if both ends are a terminal, and otherwise run what is piped in."""
    if not (stream.isatty() and sys.stdout.isatty()):
        return batch(repl, stream)
    render.note(f"{repl.workbench.options.model}; :help lists the commands, Ctrl-D leaves")
    with line_editing(lambda: words(repl)) as read:
        return converse(repl, read)


def converse(repl: Repl, read: Callable[[str], str]) -> int:
    """Prompt, read, evaluate until Ctrl-D or :quit; errors are shown, Ctrl-C clears the line."""
    while not repl.leaving:
        try:
            repl.execute(_statement(read))
        except EmqError as mistakes:
            render.diagnostics(mistakes.diagnostics)
        except KeyboardInterrupt:
            render.note("")
        except EOFError:
            render.note("")
            break
    return EXIT_OK


def batch(repl: Repl, stream: TextIO) -> int:
    """The statements of a stream, without prompts. Raises EmqError at the first mistake."""
    for statement in _statements(stream):
        repl.execute(statement)
        if repl.leaving:
            break
    return EXIT_OK


def _statement(read: Callable[[str], str]) -> str:
    """One statement from the keyboard: more lines while a bracket is open, until a blank one."""
    text = read(PROMPT)
    while _unfinished(text):
        line = read(MORE)
        if not line.strip():
            break
        text += "\n" + line
    return text


def _statements(stream: TextIO) -> Iterator[str]:
    text = ""
    for line in stream:
        text += line
        if not _unfinished(text):
            yield text.rstrip("\n")
            text = ""
    if text:
        yield text.rstrip("\n")


def _unfinished(text: str) -> bool:
    return not text.lstrip().startswith(":") and open_bracket(text) is not None


def words(repl: Repl) -> tuple[str, ...]:
    """What TAB offers."""
    return (*CALLS, *INPUTS, *LIBRARY, *repl.bound, *(f":{name}" for name in COMMANDS))


def history_path() -> Path:
    """Where history lies: under XDG_STATE_HOME, or ~/.local/state."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "emqlang" / "history"


@contextmanager
def line_editing(words: Callable[[], Iterable[str]]) -> Iterator[Callable[[str], str]]:
    """A function that reads one line after a prompt; plain `input` where there is no readline."""
    try:
        import readline
    except ImportError:  # Windows
        yield input
        return
    path = history_path()
    if path.is_file():
        readline.read_history_file(path)
    readline.set_history_length(HISTORY)
    readline.set_completer(lambda stem, index: _candidate(words(), stem, index))
    readline.set_completer_delims(" \t\n()+-*/@,=")
    readline.parse_and_bind(
        "bind ^I rl_complete" if "libedit" in (readline.__doc__ or "") else "tab: complete"
    )
    try:
        yield input
    finally:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            readline.write_history_file(path)
        except OSError as problem:
            render.note(f"the history is not kept: {problem}")


def _candidate(words: Iterable[str], stem: str, index: int) -> str | None:
    matching = sorted({word for word in words if word.startswith(stem)})
    return matching[index] if index < len(matching) else None
