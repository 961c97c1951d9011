"""Writes docs/reference: pages made of the tables in the code.

    python docs/generate.py    # or: make docs

What a page says is what the commands say: the ops, statistics and proxies are the records of
`emqlang ops --json` and `emqlang explain`, the commands are their `--help`. A test compares the
pages with this, and names the ones to write anew.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click

import emqlang
from emqlang.cli import EXIT_STATUS, group
from emqlang.cli.base import Command, LazyGroup
from emqlang.grammar import parse
from emqlang.grammar.codes import CODES
from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.inputs import INPUTS
from emqlang.grammar.library import LIBRARY, SHELVES
from emqlang.grammar.ops import OPS
from emqlang.views import library, ops
from emqlang.views.explain import explain

ROOT: Final = Path(__file__).resolve().parent.parent
REFERENCE: Final = ROOT / "docs" / "reference"
COMMON: Final = {"--no-color", "-q", "--debug", "-h"}  # options of every command
LETTERS: Final = 9  # of a message that is worth listing without what is put into it
SERIES: Final = {
    "E1": "The text is not in the language",
    "E2": "The text is in the language and means nothing",
    "E3": "A network, its weights, its data or a file cannot be used",
    "E4": "The request does not fit the network",
    "E5": "Evaluation",
    "W6": "Warnings",
}


def main() -> None:
    REFERENCE.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), encoding="utf-8")


def ops_page() -> str:
    """Ops by class, with what each computes, and what it takes and gives."""
    lines = [
        "# Ops",
        "Every op has one definition, and a value for every real number: where mathematics has "
        "none, the one under *protection* holds. Overflow is not hidden; such a score is invalid. "
        f"The table has version {ops.record()['op_table']}; a change of meaning raises it.",
        "`emqlang ops` prints this, `emqlang explain log` one op, `emqlang ops --paper` the "
        "paper's names. [Statistics](statistics.md) are what ops are applied to.",
    ]
    for name in dict.fromkeys(op.cls for op in OPS.values()):
        rows = [row for row in ops.record()["ops"] if row["class"] == name]
        takers: dict[str, list[str]] = defaultdict(list)
        for row in rows:
            kinds = dict(explain(row["name"]).fields)["kinds"]
            takers[kinds].append(f"`{row['name']}`")
        lines += [
            f"## {str(name).capitalize()} ops",
            _table(("op", "written", "computes", "protection"), map(_op_row, rows)),
            "What they take and give:",
            "\n".join(f"- {', '.join(names)}: `{kinds}`" for kinds, names in takers.items()),
        ]
    return _page(lines)


def _op_row(row: dict[str, Any]) -> list[str]:
    computes = _prose(row["formula"])
    if row["expansion"] and row["expansion"] != row["formula"]:
        computes += f": `{row['expansion']}`"
    return [f"`{row['name']}`", f"`{row['written']}`", computes, _prose(row["protection"])]


def statistics_page() -> str:
    """Statistics by what it takes to collect them."""
    lines = [
        "# Statistics",
        "What a proxy may read of a network. Each name has one definition. *Values* says how many "
        "there are: one per `layer`, one per `weight`, one per `image` and label drawn for it, or "
        "sampled elements of the layer's output (`activation`); where a statistic depends on bits, "
        "as many for each choice of the menu.",
        "`emqlang ops` prints this, `emqlang explain fisher` one statistic. "
        "[The language](../language.md) says how they combine, [ops](ops.md) lists by what.",
    ]
    for cost in dict.fromkeys(row.cost for row in INPUTS.values()):
        names = [name for name, row in INPUTS.items() if row.cost is cost]
        columns = ("statistic", "what it is", "values", "depends on", "sign", "unit", "source")
        lines += [f"## {_capital(str(cost))}", _table(columns, map(_statistic_row, names))]
    return _page(lines)


def _statistic_row(name: str) -> list[str]:
    fields = dict(explain(name).fields)
    definition = _prose(fields["definition"])
    if fields["images"] == "needed":
        definition += " (needs images)"
    rest = [_prose(fields[key]) for key in ("depends on", "sign", "unit", "source")]
    return [f"`{name}`", definition, str(INPUTS[name].kind), *rest]


def errors_page() -> str:
    """Every code with its meaning, an example where the text alone makes one, and its messages."""
    lines = [
        "# Errors and warnings",
        "Every mistake has a code, a sentence, a place where there is one, and help. "
        "`emqlang explain E102` prints what a code means; under `--json` each mistake is a record. "
        "Listed below each code are its messages, with their help in brackets; … stands for what "
        "is named there.",
        "| exit status | meaning |\n|---:|---|\n"
        + "\n".join(f"| {status} | {meaning} |" for status, meaning in EXIT_STATUS.items()),
    ]
    examples, messages = _examples(), _messages()
    for prefix, title in SERIES.items():
        lines.append(f"## {title}")
        for code in sorted(code for code in CODES if code.startswith(prefix)):
            fields = dict(explain(code).fields)
            lines += [f"### {code}: {CODES[code].title}", _prose(fields["meaning"])]
            if code[0] == "E":
                lines.append(f"Exit status {fields['exit status']}.")
            if code in examples:
                lines.append(f"```text\n{examples[code]}\n```")
            if messages[code]:
                lines.append("\n".join(f"- {message}" for message in sorted(messages[code])))
    return _page(lines)


def _examples() -> dict[str, str]:
    """The first expression of the tests that makes one diagnostic of a code, as it is printed."""
    found: dict[str, str] = {}
    fixture = (ROOT / "tests" / "fixtures" / "errors.emqtest").read_text(encoding="utf-8")
    for block in fixture.split("=== ")[1:]:
        text = block.split("\n", 1)[1].split("\n---\n")[0].strip("\n")
        try:
            diagnostics = parse(text).warnings
        except EmqError as failure:
            diagnostics = list(failure.diagnostics)
        if len(diagnostics) == 1 and 0 < len(text) < 80 and text[0] != "#":
            found.setdefault(diagnostics[0].code, diagnostics[0].render())
    return found


def _messages() -> dict[str, set[str]]:
    """The sentences that the code raises under each code, with their help."""
    found: dict[str, set[str]] = defaultdict(set)
    for folder in ("emqlang", "grammar", "quant", "evolve"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and len(node.args) > 1 and _name(node) != "foreign":
                    code, message = _words(node.args[0]), _words(node.args[1])
                    if code in CODES and len(re.findall("[a-z]", message)) > LETTERS:
                        found[code].add(_prose(message + _help(node)))
    return found


def _help(call: ast.Call) -> str:
    """The help of a call that makes a diagnostic: later texts of `error`, or `help=`."""
    parts = call.args[2:] if _name(call) in ("error", "KindError") else []
    for keyword in call.keywords:
        if keyword.arg == "help":
            value = keyword.value
            parts = [*parts, *(value.elts if isinstance(value, ast.Tuple) else [value])]
    texts = [text for text in map(_words, parts) if text.strip("… ")]
    return f" ({'; '.join(texts)})" if texts else ""


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _words(node: ast.expr) -> str:
    """A text as it is written, with … for each value that is put in; empty if it is no text."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(
            "…" if isinstance(part, ast.FormattedValue) else _words(part) for part in node.values
        )
    return ""


def commands_page() -> str:
    """The help of every command."""
    lines = [
        "# Commands",
        "What `emqlang COMMAND --help` says. [The command line](../cli.md) has what commands "
        "share: networks and data of your own, the exit status, and the formats of `--json` and "
        "`--csv`.",
        "Every command takes `--no-color` (plain text), `-q` or `--quiet` (no notes and no "
        "progress), `--debug` (the traceback of an internal error) and `-h` or `--help`.",
    ]
    for title, names in _sections(group).items():
        lines.append(f"## {title}")
        for name in names:
            lines += _command(name.split())
    return _page(lines)


def _sections(commands: click.Group) -> dict[str, list[str]]:
    assert isinstance(commands, LazyGroup)
    return {title: list(names) for title, names in commands.sections.items()}


def _command(words: Sequence[str]) -> Iterator[str]:
    """One command, or those of a group."""
    context = click.Context(group, info_name="emqlang")
    command: click.Command = group
    for word in words:
        assert isinstance(command, click.Group)
        found = command.get_command(context, word)
        assert found is not None
        command, context = found, click.Context(found, context, word)
    yield f"### `{' '.join(words)}`"
    if isinstance(command, LazyGroup):
        yield _prose(inspect.cleandoc(command.help or ""))
        for names in _sections(command).values():
            for name in names:
                yield from _command([*words, name])
        return
    assert isinstance(command, Command)
    usage = " ".join((context.command_path, *command.collect_usage_pieces(context)))
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        kept = paragraph.removeprefix("\b\n")  # its lines stay as they are
        yield _prose(kept) if kept == paragraph else f"```text\n{kept}\n```"
    yield "```console\n" + "\n".join(f"$ {line}" for line in command.examples) + "\n```"
    yield f"Usage: `{usage}`"
    options = [
        f"- `{record[0]}`: {_prose(re.sub('  +', ' ', record[1]))}"
        for param in command.params
        if isinstance(param, click.Option) and not COMMON & set(param.opts)
        if (record := param.get_help_record(context)) is not None
    ]
    yield "\n".join(options)
    yield _prose(inspect.cleandoc(command.epilog or ""))


def proxies_page() -> str:
    """The library, by its files."""
    lines = [
        "# Proxies",
        "The library: what each proxy is, its source, what it costs to collect what it reads, and "
        "what it was made for. One that separates is a sum over layers, of which `assign` proves "
        "the optimum. `emqlang library` lists them, `emqlang explain NAME` shows one. Which to "
        "use: [choosing](../choosing.md).",
    ]
    for shelf in SHELVES:
        names = [name for name in LIBRARY if LIBRARY.shelf(name) == shelf]
        if names:
            lines.append(f"## {_capital(library.TITLES[shelf])}")
        for name in names:
            fields = {key: value for key, value in library.fields(LIBRARY[name]) if value}
            text, description = fields.pop("text"), fields.pop("what it is")
            canonical = fields.pop("canonical")
            formula = text if text == canonical else f"{text}\n# canonical form\n{canonical}"
            facts = "\n".join(f"- {key}: {_prose(value)}" for key, value in fields.items())
            lines += [f"### `{name}`", _prose(description), f"```text\n{formula}\n```", facts]
    return _page(lines)


def python_page() -> str:
    """The public names of the package, with their signatures and what they say of themselves."""
    lines = [
        "# Python",
        "The names of `import emqlang as emq`. [The tutorial](../tutorial.md) uses most of them; "
        "what cannot be done raises `EmqError` with a [code](errors.md), and what should be known "
        "is an `EmqWarning`.",
        _prose(inspect.getdoc(import_module("emqlang.api")) or "").split("\n\n", 1)[0],
    ]
    models = (inspect.getdoc(import_module("emqlang.api")) or "").split("\n\n")[1]
    lines.append(f"```text\n{models}\n```")
    for name in emqlang.__all__:
        found = getattr(emqlang, name)
        first, _, rest = (inspect.getdoc(found) or "").partition("\n\n")
        lines += [f"## `{name}`"]
        if inspect.isfunction(found):
            lines.append(f"```python\n{_signature(name, found)}\n```")
        lines += [_prose(first), f"```text\n{rest}\n```" if rest else ""]
    return _page(lines)


def _signature(name: str, function: Callable[..., Any]) -> str:
    """A parameter a line, unless all fit on one."""
    signature = inspect.signature(function)
    whole = str(signature).replace("'", "")
    if len(name + whole) < 90:
        return f"{name}{whole}"
    parts, keyword = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword:
            parts, keyword = [*parts, "*"], True
        text = str(parameter.replace(default=parameter.empty)).replace("'", "")
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        if inspect.isfunction(parameter.default):
            default = " = ..."
        parts.append(text + default)
    body = "".join(f"    {part},\n" for part in parts)
    return f"{name}(\n{body}) -> {str(signature.return_annotation).strip(chr(39))}"


def _page(paragraphs: Sequence[str]) -> str:
    made = "<!-- Written by `make docs` from the code; edit that. -->"
    return "\n\n".join((made, *filter(None, paragraphs))) + "\n"


def _capital(title: str) -> str:
    return title[0].upper() + title[1:]


def _table(columns: Sequence[str], rows: Iterable[list[str]]) -> str:
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return "\n".join((*lines, *(f"| {' | '.join(row)} |" for row in rows)))


def _prose(text: str) -> str:
    """Text in Markdown: what would be markup, outside of `code`, stands for itself."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        parts = [text.replace("`", "\\`")]
    for place in range(0, len(parts), 2):
        escaped = re.sub(r"([*|\[\]])", r"\\\1", parts[place])
        escaped = re.sub(r"(?<!\w)_", r"\\_", escaped)
        parts[place] = re.sub(r"<(?=\w)", "&lt;", escaped)
    return "`".join(parts)


PAGES: Final[dict[str, Callable[[], str]]] = {
    "ops.md": ops_page,
    "statistics.md": statistics_page,
    "errors.md": errors_page,
    "commands.md": commands_page,
    "proxies.md": proxies_page,
    "python.md": python_page,
}


if __name__ == "__main__":
    main()
