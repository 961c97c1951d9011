"""Words of the command line that TAB completes: names, expressions, lists, and the shell's line."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from glob import escape
from pathlib import Path
from typing import Any, ClassVar

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class

from emqlang.grammar.diagnostics import EmqError

Parameter = click.Parameter | None

_LAST_NAME = re.compile(r"\w*$")
_OF_FILE = re.compile(r"(@?)(.+\.emq):(\w*)")
_PROTECTION = "\N{WORD JOINER}"  # before a leading minus, which click would take for an option's


def protect(expression: str) -> str:
    """The expression as click takes it for an argument; the parameter's type undoes it."""
    return _PROTECTION + expression


class Expression(click.types.StringParamType):
    """A proxy as text, `file.emq:name` or `-`; TAB completes the last name, and files."""

    name = "expr"

    def convert(self, value: Any, param: Parameter, ctx: click.Context | None) -> Any:
        return super().convert(value, param, ctx).removeprefix(_PROTECTION)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from emqlang.grammar.inputs import INPUTS
        from emqlang.grammar.library import LIBRARY
        from emqlang.grammar.ops import CALLS

        if (match := _OF_FILE.fullmatch(incomplete)) is not None:
            return [*_of_file(*match.groups())]
        stem = _LAST_NAME.search(incomplete)
        assert stem is not None
        before = incomplete[: stem.start()]
        words = [before + word for word in (*CALLS, *INPUTS, *LIBRARY) if word.startswith(stem[0])]
        return [CompletionItem(word) for word in (*words, *_files(incomplete))]


def _files(incomplete: str) -> Iterator[str]:
    """Files of proxies whose path begins so; none where nothing is typed yet."""
    head, slash, name = incomplete.rpartition("/")
    if incomplete:
        folder = Path(f"{head}{slash}" or ".")
        yield from (f"{head}{slash}{path.name}" for path in folder.glob(f"{escape(name)}*.emq"))


def _of_file(at: str, path: str, stem: str) -> Iterator[CompletionItem]:
    """The public names of a file; nothing where it cannot be read."""
    from emqlang.grammar.files import load_file

    try:
        names = load_file(path).proxies
    except EmqError:
        return
    for name in names:
        if name.startswith(stem):
            yield CompletionItem(f"{at}{path}:{name}")


class Words(click.types.StringParamType):
    """One of the words that `known` names, for TAB; the command itself judges the word."""

    def __init__(self, name: str, known: Callable[[], Iterable[str]]) -> None:
        self.name = name
        self.known = known

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(word) for word in self.known() if word.startswith(incomplete)]


def library_names() -> Iterable[str]:
    from emqlang.grammar.library import names

    return names()


def model_names() -> Iterable[str]:
    from emqlang.quant.models import MODELS

    return MODELS


def input_names() -> Iterable[str]:
    from emqlang.grammar.inputs import INPUTS

    return INPUTS


def op_names() -> Iterable[str]:
    from emqlang.grammar.ops import OPS

    return OPS


def table_names() -> Iterable[str]:
    from emqlang.quant.tables.shelf import shipped

    return shipped()


def experiment_names() -> Iterable[str]:
    from emqlang.experiments import NAMES

    return NAMES


def export_formats() -> Iterable[str]:
    from emqlang.quant.export import FORMATS

    return FORMATS


def topics() -> Iterable[str]:
    """Everything that `explain` explains."""
    from emqlang.views.explain import TOPICS

    return TOPICS


class Listed(Words):
    """Several words, separated by commas; the command itself judges them."""

    def convert(self, value: Any, param: Parameter, ctx: click.Context | None) -> Any:
        return tuple(filter(None, (word.strip() for word in str(value).split(","))))


class Bash(BashComplete):
    """Bash's completion of the line as it was typed: bash itself takes words apart at colons."""

    TOLD: ClassVar = 'COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS"'
    source_template: ClassVar[str] = BashComplete.source_template.replace(
        "COMP_CWORD=$COMP_CWORD", f"COMP_CWORD=$COMP_CWORD {TOLD}"
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ.get("COMP_LINE")
        if line is None:
            return super().get_completion_args()
        from click.shell_completion import split_arg_string

        words = split_arg_string(line)
        if not words or (line[-1:].isspace() and not words[-1][-1:].isspace()):
            words.append("")
        quoted = line.rstrip()[-len(words[-1]) - 1 :][:1] in ("'", '"')
        colon = 0 if quoted or ":" not in os.environ.get("COMP_WORDBREAKS", "") else 1
        self.replaced = (words[-1].rfind(":") + 1) * colon
        return words[1:-1], words[-1]

    replaced = 0  # characters of the last word that bash keeps

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.type},{str(item.value)[self.replaced :]}"


add_completion_class(Bash)
