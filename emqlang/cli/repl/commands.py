"""The REPL's commands: a table of what each takes, what it does, and the function that does it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

from emqlang.grammar.diagnostics import error
from emqlang.grammar.files import load_file
from emqlang.grammar.text import printer
from emqlang.grammar.text.latex import latex
from emqlang.grammar.text.tokens import tokens
from emqlang.store import write_text
from emqlang.tasks.assign import Chooser
from emqlang.tasks.comparison import compare, sensitivity
from emqlang.tasks.eval import evaluate
from emqlang.tasks.judge import Judge
from emqlang.tasks.neighbours import neighbours
from emqlang.tasks.outputs import Output
from emqlang.tasks.problem import Constraints
from emqlang.tasks.workbench import Workbench, WorkbenchOptions
from emqlang.views import assign, explain, exploration, ops, rank, render, show, ticker
from emqlang.views import eval as evaluation

if TYPE_CHECKING:
    from emqlang.cli.repl.interpreter import Interpreter
    from emqlang.grammar.program import Program

SHAPE = re.compile(r"\d+(x\d+)+")
LIMITS: Final[Mapping[str, Callable[[str], Constraints]]] = {
    "avg_bits": lambda text: Constraints(avg_bits=text),
    "size": lambda text: Constraints(size=text),
    "bops": lambda text: Constraints(bops=text),
}
AMOUNT = re.compile(rf"(?:({'|'.join(LIMITS)})=)?([0-9][0-9.]*[A-Za-z]*)(?:\s+|$)")


@dataclass(frozen=True, slots=True)
class Command:
    """One command: the words it takes, what it does in a line, and how."""

    takes: str
    does: str
    run: Callable[[Interpreter, str], None]


def _model(repl: Interpreter, rest: str) -> None:
    if rest:
        another = Workbench(_another(repl.workbench.options, rest))
        evaluation.network(another.network)
        render.diagnostics(another.new(another.network.warnings))
        repl.workbench, repl.judge = another, Judge.at_hand(another)
        if repl.judge is not None:
            exploration.table(repl.judge)
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


def _table(repl: Interpreter, rest: str) -> None:
    if rest:
        with repl.working():
            repl.judge = Judge.of(rest, repl.workbench)
    exploration.table(_judge(repl))


def _judge(repl: Interpreter) -> Judge:
    if repl.judge is None:
        message = f"no table is loaded, and none of '{repl.workbench.options.model}' is shipped"
        raise error("E403", message, ":table NAME loads one; `emqlang bench list` names them")
    return repl.judge


def _ops(repl: Interpreter, rest: str) -> None:
    if rest:
        explain.screen(explain.explain(rest))
    else:
        ops.screen()


def _kinds(repl: Interpreter, rest: str) -> None:
    render.tree(show.kinds(repl.program(rest)))


def _canonical(repl: Interpreter, rest: str) -> None:
    render.tree(show.canonical(repl.program(rest)))


def _graph(repl: Interpreter, rest: str) -> None:
    render.tree(show.graph(repl.program(rest)))


def _latex(repl: Interpreter, rest: str) -> None:
    render.text(latex(repl.program(rest).expr))


def _compare(repl: Interpreter, rest: str) -> None:
    programs = _programs(repl, rest)
    if len(programs) != 2:
        message = f"':compare' takes two expressions, and was given {len(programs)}"
        raise error("E403", message, ":compare fisher_length, mean(abs(w)) * bits")
    first, second = programs
    with repl.working():
        found = compare(repl.workbench, first, second, repl.judge)
    exploration.comparison(found, (exploration.name_of(first), exploration.name_of(second)))


def _rank(repl: Interpreter, rest: str) -> None:
    programs = _programs(repl, rest) if rest else []
    with repl.working():
        result = _judge(repl).ranking(programs)
    render.diagnostics(result.diagnostics)
    rank.screen(result)


def _assign(repl: Interpreter, rest: str) -> None:
    amount = AMOUNT.match(rest)
    if amount is None:
        form = ":assign 3 EXPR, or :assign size=40KiB EXPR"
        raise error("E403", "':assign' needs a budget", form)
    program = repl.program(rest[amount.end() :])
    with repl.working(), ticker.progress() as progress:
        bench = repl.workbench
        limits = LIMITS[amount[1] or "avg_bits"](amount[2])
        bits = Chooser(bench.options, limits, progress, bench).best(program)
    render.diagnostics(bits.diagnostics)
    assign.bits_screen(bits)


def _sensitivity(repl: Interpreter, rest: str) -> None:
    with repl.working():
        found = sensitivity(repl.workbench, repl.program(rest))
    render.diagnostics(found.diagnostics)
    exploration.sensitivity(found)


def _neighbours(repl: Interpreter, rest: str) -> None:
    with repl.working():
        found = neighbours(_judge(repl), repl.program(rest), Random(repl.workbench.options.seed))
    exploration.neighbourhood(found)


def _time(repl: Interpreter, rest: str) -> None:
    timed = evaluate(repl.workbench, [repl.program(rest)])
    statistics, evaluation = timed.statistics_seconds, timed.evaluation_seconds
    render.note(f"statistics {statistics:.3f} s, evaluation {evaluation:.6f} s")


def _save(repl: Interpreter, rest: str) -> None:
    words = rest.split()
    force, rest = "--force" in words, " ".join(word for word in words if word != "--force")
    if not rest:
        raise error("E403", "':save' needs a file name", ":save proxies.emq")
    lines, count = list[str](), len(repl.bound)
    for name, program in repl.bound.items():
        lines += [*program.domain.lines, f"{name} = {printer.show(program.expr)}"]
    with Output().claimed(Path(rest), force=force):
        write_text(Path(rest), "".join(f"{line}\n" for line in lines))
    render.note(f"{count} {'name' if count == 1 else 'names'} written to {rest}")


def _load(repl: Interpreter, rest: str) -> None:
    if not rest:
        raise error("E403", "':load' needs a file name", ":load proxies.emq")
    file = load_file(rest)
    render.diagnostics(file.warnings)
    repl.bound |= file.proxies
    render.note(f"{', '.join(file.proxies) or 'no names'} from {rest}")


def _help(repl: Interpreter, rest: str) -> None:
    rows = [("EXPR", "score on the network, rank on the table; _ is the last one")]
    rows += [("NAME = EXPR", "bind a name; the library's names are known too")]
    rows += [(f":{name} {one.takes}".rstrip(), one.does) for name, one in COMMANDS.items()]
    render.fields(rows)


def _quit(repl: Interpreter, rest: str) -> None:
    repl.leaving = True


def _programs(repl: Interpreter, text: str) -> list[Program]:
    """Expressions between commas that stand in no bracket; or names, between blanks."""
    ends, depth = [-1], 0
    for token, offset in tokens(text):
        depth += {"(": 1, ")": -1}.get(token, 0)
        if token == "," and depth == 0:
            ends.append(offset)
    parts = [text[a + 1 : b] for a, b in zip(ends, [*ends[1:], len(text)], strict=True)]
    words = text.split()
    if len(parts) == 1 and all(word in repl.names for word in words):
        parts = words
    return [repl.program(part.strip()) for part in parts]


COMMANDS: Final[Mapping[str, Command]] = {
    "model": Command(
        "[NAME ...]", "name the network, or load one: NAME WEIGHTS DATA 1x28x28", _model
    ),
    "table": Command("[NAME]", "name the benchmark table to rank on, or load one", _table),
    "ops": Command("[NAME]", "list ops and statistics, or explain one", _ops),
    "kinds": Command("[EXPR]", "kinds, signs and choices of every part", _kinds),
    "canonical": Command("[EXPR]", "the canonical form and its key", _canonical),
    "graph": Command("[EXPR]", "the canonical form as a graph", _graph),
    "latex": Command("[EXPR]", "the expression in LaTeX", _latex),
    "compare": Command("A, B", "where two proxies disagree, layer by layer", _compare),
    "rank": Command("[EXPR, ...]", "rank expressions, or the library, on the table", _rank),
    "assign": Command("BUDGET [EXPR]", "the best bits: 3 on average, or size=40KiB", _assign),
    "sensitivity": Command(
        "[EXPR]", "what the score loses by each layer, alone and in company", _sensitivity
    ),
    "neighbours": Command("[EXPR]", "the best mutations of it on the table", _neighbours),
    "time": Command("[EXPR]", "evaluate, and say how long it took", _time),
    "save": Command("FILE", "write what was bound to an .emq file; --force replaces one", _save),
    "load": Command("FILE", "bind what an .emq file names", _load),
    "help": Command("", "this list; any prefix that is clear will do", _help),
    "quit": Command("", "leave, as Ctrl-D does", _quit),
}
