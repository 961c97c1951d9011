"""What went wrong, where, and what to do: one record for every mistake a user can make.

A `Diagnostic` is a value. It is raised inside an `EmqError`, which carries as many as one input has, and it is
rendered (rustc's layout, with a caret) or dumped to JSON only at the edge.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

EXIT_OK, EXIT_NO, EXIT_USAGE, EXIT_DATA, EXIT_NOT_FINITE = 0, 1, 2, 3, 4
EXIT_INTERNAL, EXIT_INTERRUPTED = 70, 130
_LINE = 120  # characters of a source line that are shown


@dataclass(frozen=True, slots=True)
class Code:
    """One row of the code table: the exit status it leads to, its title, and what `emqlang explain` says."""

    exit: int
    title: str
    text: str


CODES: dict[str, Code] = {
    # E1: the text is not in the language
    "E101": Code(
        1,
        "syntax error",
        "The text does not follow the grammar (`emqlang show --stage tree` prints what was understood).",
    ),
    "E102": Code(
        1,
        "unknown name",
        "A name is neither a statistic, an op, nor defined earlier in the file. `emqlang ops` lists them.",
    ),
    "E103": Code(
        1,
        "wrong number of arguments",
        "Every op takes a fixed number of arguments; `emqlang explain OP` shows them.",
    ),
    "E104": Code(
        1,
        "text too long",
        "An expression may have 64 KiB and a file 1 MiB. This is checked before anything is parsed.",
    ),
    "E105": Code(1, "nested too deeply", "Parentheses, calls and operators may nest 200 deep."),
    "E106": Code(
        1,
        "program too large",
        "A program may have 10,000 nodes once every name is replaced by what it stands for.",
    ),
    "E107": Code(1, "duplicate name", "A file binds each name once."),
    "E108": Code(1, "reserved name", "Statistics and ops cannot be bound to something else."),
    "E109": Code(1, "cycle between names", "A line may use only the names bound on earlier lines."),
    "E110": Code(1, "literal not finite", "Literals are finite float64 numbers."),
    "E111": Code(1, "not UTF-8", "Texts and files are UTF-8."),
    # E2: the text is in the language and means nothing
    "E201": Code(
        1,
        "kind error",
        "Weight, activation, matrix and layer values cannot be combined this way; reduce one first.",
    ),
    "E202": Code(
        1,
        "reduction of a layer value",
        "A reduction brings a tensor down to one number a layer; this is one already.",
    ),
    "E203": Code(1, "exponent not literal", "The right side of ** is a literal number."),
    "E204": Code(
        1,
        "joint menu needs an activation input",
        "Under a menu that chooses activation bits too, a proxy must mention an activation input (act_bits, act_qerr, ...).",
    ),
    # E3: a network, its weights, its data or a file cannot be used
    "E301": Code(
        3, "file cannot be read", "The file is missing, unreadable, or not what its name says."
    ),
    "E302": Code(
        3,
        "weights do not fit",
        "The checkpoint's names or shapes differ from the network's, or it holds values that are not finite.",
    ),
    "E303": Code(
        3,
        "data needed",
        "The proxy reads statistics that come from images, and the network has none of its own: give --data, or --data noise:N.",
    ),
    "E304": Code(
        3,
        "data does not fit",
        "The images are missing, too few, unlabelled, or of another size than the network takes.",
    ),
    "E305": Code(
        3,
        "unknown model",
        "`emqlang models` lists the built-in networks; others load as package.module:factory or file.py:factory.",
    ),
    "E306": Code(3, "nothing to quantize", "The network has no convolution and no linear layer."),
    "E307": Code(
        3,
        "no pretrained weights",
        "They are neither in the torch hub cache nor could they be downloaded.",
    ),
    "E308": Code(
        3, "network cannot be run", "Its own forward failed on an input of the expected shape."
    ),
    "E309": Code(
        3,
        "unknown layer",
        "Layers that share one choice are named as the network names them, each in one tie.",
    ),
    "E310": Code(
        3,
        "not a recipe",
        "A recipe is the JSON object that `emqlang assign` writes; a field of this one is unknown, missing, or has an impossible value.",
    ),
    "E311": Code(
        3,
        "recipe for another network",
        "The recipe's layers or its weights' hash are not this network's.",
    ),
    "E312": Code(
        3,
        "values not finite",
        "Inputs, activations or outputs of the network hold infinities or values that are not a number.",
    ),
    "E313": Code(
        3,
        "bad latency table",
        "A CSV with columns layer,choice,milliseconds, one row for every layer and choice of the menu.",
    ),
    "E314": Code(
        3,
        "benchmark table unusable",
        "The file is no benchmark table, or it was cut short, edited, or written by another version; `emqlang bench validate` says more.",
    ),
    "E315": Code(
        3,
        "benchmark table for something else",
        "The table's network, weights, images or settings are not those asked for.",
    ),
    "E316": Code(
        3,
        "run unusable",
        "The folder holds no run, one of another version, or one that judged by something else.",
    ),
    # E4: the request does not fit the network
    "E401": Code(
        2,
        "bad menu",
        "A menu lists weight bits (2,3,4) or pairs (W2A8,W4A8), each from 1 to 16 bits, each once.",
    ),
    "E402": Code(
        2, "bad configuration", "A configuration has one entry a group, each from the menu."
    ),
    "E403": Code(2, "bad option", "The option's value is not of the form its help describes."),
    "E404": Code(
        2,
        "bad budget",
        "A budget is a positive number with its unit: --size 4.5MiB, --bops 72G, --latency 3ms, --avg-bits 3.",
    ),
    "E405": Code(
        1,
        "no assignment within budget",
        "Even the cheapest choices cost more than the budget; the minimum reachable is named for each budget.",
    ),
    "E406": Code(
        2,
        "too few rows",
        "A correlation over the best rows needs at least two of them, and the paper's protocol 50.",
    ),
    "E407": Code(
        2,
        "too few configurations",
        "A table's rows are distinct, and the menu has fewer configurations than asked for.",
    ),
    "E408": Code(
        2,
        "empty search space",
        "No program can be made of these statistics and ops that gives one number a layer.",
    ),
    # E5: evaluation
    "E501": Code(
        4, "score not finite", "A group's score overflowed or is not a number; it is null in JSON."
    ),
    "E502": Code(
        1,
        "time is up",
        "sympy was stopped at its time limit; the rules alone answer without --sympy.",
    ),
    "E503": Code(
        70,
        "workers keep dying",
        "Processes that do the work were ended from outside, mostly for want of memory.",
    ),
    # W: warnings; they never change the exit status
    "W601": Code(
        0,
        "suspicious domain",
        "The op's argument may leave the part of the real line where the op is the usual function; protected values apply there.",
    ),
    "W602": Code(
        0,
        "score falls as bits rise",
        "Higher must mean a better configuration. For these groups more bits score lower; a leading minus may be missing.",
    ),
    "W603": Code(
        0,
        "weights are random",
        "No trained weights were used: the scores are those of a randomly initialised network.",
    ),
    "W604": Code(
        0,
        "cached statistics rebuilt",
        "A cache file was damaged or written for something else; it was set aside and its statistics computed again.",
    ),
    "W605": Code(
        0,
        "part of the network is not covered",
        "Parameters reach a matmul or convolution outside the known layers; they count at 32 bits and are never quantized.",
    ),
    "W606": Code(
        0,
        "batch norm not folded",
        "It was not proven that this batch norm follows one convolution or linear layer and nothing else reads that output.",
    ),
    "W607": Code(
        0, "data is noise", "The images are standard normal noise with the network's own labels."
    ),
    "W608": Code(
        0,
        "layer never reached",
        "The forward of the example does not use these layers; they are left out and keep 32 bits.",
    ),
    "W609": Code(
        0,
        "cache not written",
        "The cache's folder cannot be written to: what was computed is used and not kept.",
    ),
}


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of characters in a source text."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Source:
    """A named text. `name` is a path, `<arg>` for the command line, `<repl>`, or a library entry."""

    name: str
    text: str

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of a character offset, both from 1, columns in characters."""
        line = self.text.count("\n", 0, offset) + 1
        return line, offset - (self.text.rfind("\n", 0, offset) + 1) + 1

    def line(self, number: int) -> str:
        return self.text.split("\n")[number - 1] if self.text else ""


Role = Literal["severity", "message", "gutter", "mark", "help"]
Paint = Callable[[Role, str], str]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake or warning: a stable code, one lowercase sentence, a place, and how to mend it."""

    code: str
    message: str
    source: Source | None = None
    span: Span | None = None
    label: str = ""
    help: tuple[str, ...] = ()
    path: str = ""  # a file, layer or option, where there is no source text

    @property
    def is_error(self) -> bool:
        return self.code[0] == "E"

    def as_dict(self) -> dict[str, Any]:
        """The record of `--json`: code, message, file, line, column, end_column, help."""
        record: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "help": list(self.help),
        }
        if self.source and self.span:
            line, column = self.source.place(self.span.start)
            width = min(self.span.end, len(self.source.text)) - self.span.start
            record |= {
                "file": self.source.name,
                "line": line,
                "column": column,
                "end_column": column + max(1, width),
            }
        elif self.path:
            record["file"] = self.path
        return record

    def render(self, paint: Paint = lambda role, text: text) -> str:
        """rustc's layout; `paint` may colour each part by its role."""
        severity = "error" if self.is_error else "warning"
        head = paint("severity", f"{severity}[{self.code}]")
        lines = [head + paint("message", f": {self.message}")]
        if self.source and self.span:
            number, column = self.source.place(self.span.start)
            start, end = column - 1, column - 1 + self.span.end - self.span.start
            shown, before, marked = _excerpt(self.source.line(number), start, end)
            indent = " " * len(str(number))
            bar = paint("gutter", f"{indent} |")
            mark = f"{'^' * max(1, _columns(marked))} {self.label}".rstrip()
            lines += [
                paint("gutter", f"{indent}-->") + f" {self.source.name}:{number}:{column}",
                bar,
                paint("gutter", f"{number} |") + f" {shown}".rstrip(),
                f"{bar} {_blank(before)}{paint('mark', mark)}",
            ]
        elif self.path:
            lines.append(paint("gutter", " -->") + f" {self.path}")
        return "\n".join([*lines, *(paint("help", "help:") + f" {line}" for line in self.help)])


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a source that is parsed on its own; spans count from its beginning."""

    source: Source
    text: str
    start: int = 0

    def diagnostic(
        self, code: str, message: str, span: Span, label: str = "", help: tuple[str, ...] = ()
    ) -> Diagnostic:
        """A diagnostic placed in the source."""
        placed = Span(self.start + span.start, self.start + span.end)
        return Diagnostic(code, message, self.source, placed, label, help)

    def place(self, offset: int) -> str:
        """Line and column in the source, as `3:14`."""
        line, column = self.source.place(self.start + offset)
        return f"{line}:{column}"

    def quote(self, span: Span) -> str:
        """The text of a part on one line."""
        return " ".join(self.text[span.start : span.end].split())


@dataclass
class EmqError(Exception):
    """Everything a user can do wrong. Carries the diagnostics of one input; `exit_status` is the worst one's."""

    diagnostics: Sequence[Diagnostic] = field(default_factory=tuple)

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__("\n".join(d.message for d in diagnostics))
        self.diagnostics = diagnostics

    @property
    def exit_status(self) -> int:
        return max(CODES[d.code].exit for d in self.diagnostics)

    def __str__(self) -> str:
        return "\n".join(d.render() for d in self.diagnostics)


def error(code: str, message: str, *help: str, path: str = "") -> EmqError:
    """An error without a source text: about a file, a network, an option."""
    return EmqError(Diagnostic(code, message, help=help, path=path))


def nearest(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """A `did you mean` line for the closest known name, or nothing."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return (f"did you mean '{close[0]}'?",) if close else ()


def _excerpt(line: str, start: int, end: int) -> tuple[str, str, str]:
    """As much of a line as fits, what of it comes before a marked part, and the marked part; nothing that steers a terminal."""
    line = "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in line.removesuffix("\r"))
    first = 0 if len(line) <= _LINE else max(0, min(start - _LINE // 3, len(line) - _LINE))
    last = min(len(line), first + _LINE)
    head, tail = "..." * (first > 0), "..." * (last < len(line))
    return head + line[first:last] + tail, head + line[first:start], line[start : min(end, last)]


def _columns(text: str) -> int:
    """Terminal columns of a text; wide East Asian characters take two."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _blank(text: str) -> str:
    """Whitespace as wide as `text`, tabs kept so that the caret stays below its character."""
    return "".join("\t" if c == "\t" else " " * _columns(c) for c in text)
