"""What commands share: help that starts with examples, errors without tracebacks, exit status."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Mapping
from importlib import import_module
from keyword import iskeyword
from time import perf_counter
from typing import Any

import click
from click.core import ParameterSource
from click.exceptions import (
    Abort,
    BadParameter,
    ClickException,
    Exit,
    MissingParameter,
    NoSuchOption,
)

from emqlang.cli import config
from emqlang.cli.outputs import claimed
from emqlang.cli.words import Expression, protect
from emqlang.grammar.diagnostics import (
    EXIT_INTERNAL,
    EXIT_USAGE,
    Diagnostic,
    EmqError,
    nearest,
)
from emqlang.views import render, ticker

Kept = Callable[[Mapping[str, Any]], str]


class Formatter(click.HelpFormatter):
    def write_heading(self, heading: str) -> None:
        self.write(f"{'':>{self.current_indent}}{click.style(heading + ':', bold=True)}\n")


class Context(click.Context):
    formatter_class = Formatter

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.color is None:
            self.color = render.wants_colour()


class Command(click.Command):
    """A command whose help starts with examples, and whose user errors are diagnostics."""

    context_class = Context

    def __init__(
        self, *args: Any, examples: tuple[str, ...] = (), kept: Kept | None = None, **kwargs: Any
    ) -> None:
        kwargs["params"] = [*kwargs.get("params", ()), *_common()]
        super().__init__(*args, **kwargs)
        self.examples, self.kept = examples, kept

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_usage(ctx, formatter)
        write_lines(formatter, "Examples", self.examples)
        self.format_help_text(ctx, formatter)
        self.format_options(ctx, formatter)
        self.format_epilog(ctx, formatter)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """A word such as `-sum(w)`, which no option is called, is an expression."""
        options = [param for param in self.params if isinstance(param, click.Option)]
        valued = {name for option in options if not option.is_flag for name in option.opts}
        known = {name for option in options for name in (*option.opts, *option.secondary_opts)}
        known |= set(ctx.help_option_names)
        if any(isinstance(param.type, Expression) for param in self.params):
            before = ("", *args)
            args = [
                protect(arg) if _is_negative(arg, known) and last not in valued else arg
                for arg, last in zip(args, before, strict=False)
            ]
        as_json = "--json" in args  # click empties the list
        try:
            ctx.default_map, ctx.meta[DEFAULTS] = config.defaults(ctx)
            return super().parse_args(ctx, args)
        except EmqError as failure:
            render.failure(failure.diagnostics, as_json)
            ctx.exit(failure.exit_status)

    def invoke(self, ctx: click.Context) -> Any:
        from emqlang.cli import uses

        began = perf_counter()
        self._say_defaults(ctx)
        try:
            uses.check(ctx)
            with claimed(ctx):
                return super().invoke(ctx)
        except KeyboardInterrupt:
            if self.kept is not None:
                render.note(f"interrupted: {self.kept(ctx.params)}")
            raise
        except EmqError as failure:
            render.failure(failure.diagnostics, as_json=ctx.params.get("as_json", False))
            ctx.exit(failure.exit_status)
        finally:
            ticker.resources(began)

    def _say_defaults(self, ctx: click.Context) -> None:
        """Which options a file has set: nothing is changed in silence."""
        source = ctx.get_parameter_source
        kept = [p for p in self.params if source(p.name or "") is ParameterSource.DEFAULT_MAP]
        if kept:
            names = ", ".join(f"{param.opts[0]} {ctx.params[param.name or '']}" for param in kept)
            render.note(f"{ctx.meta[DEFAULTS]}: {names}")


def misused(misuse: ClickException) -> Diagnostic:
    """What click says of a command line, in our words and form."""
    ctx = getattr(misuse, "ctx", None)
    help = [f"`{ctx.command_path if ctx else 'emqlang'} --help` says what it takes"]
    match misuse:
        case NoSuchOption():
            message = f"there is no option '{misuse.option_name}'"
            help[:0] = [f"did you mean '{name}'?" for name in misuse.possibilities or ()][:1]
        case MissingParameter():
            message = misuse.format_message().rstrip(".")
            help[:0] = [ctx.get_usage()] if ctx else []
        case BadParameter():
            names = misuse.param.opts[:1] if isinstance(misuse.param, click.Option) else ()
            message = ": ".join((*names, misuse.message.rstrip(".")))
        case _:
            message = misuse.format_message().rstrip(".")
    return Diagnostic("E403", f"{message[:1].lower()}{message[1:]}", help=tuple(help))


def _is_negative(word: str, known: Container[str]) -> bool:
    return word[:1] == "-" and word[1:2] not in ("", "-") and word not in known


class LazyGroup(click.Group):
    """Commands by section, each imported from its module in `package` only when it is used."""

    context_class = Context

    def __init__(
        self,
        *args: Any,
        sections: Mapping[str, Mapping[str, str]],
        package: str = "emqlang.cli",
        **kwargs: Any,
    ) -> None:
        kwargs["params"] = [*kwargs.get("params", ()), *_common()]
        super().__init__(*args, **kwargs)
        self.sections, self.package = sections, package

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for section in self.sections.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = import_module(
            f"{self.package}.{cmd_name}{'_' * iskeyword(cmd_name)}"
        ).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-"):
            help = (*nearest(args[0], known), f"`{ctx.command_path} --help` lists them")
            message = f"there is no command '{ctx.command_path} {args[0]}'"
            render.failure((Diagnostic("E403", message, help=help),), "--json" in args)
            ctx.exit(EXIT_USAGE)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in self.sections.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (ClickException, Exit, Abort, OSError):  # the last: a full disk, a closed pipe
            raise
        except Exception as crash:  # the boundary: whatever gets here is a bug of ours
            render.internal_error(
                crash, debug=bool(ctx.meta.get(_DEBUG) or os.environ.get("EMQLANG_DEBUG"))
            )
            ctx.exit(EXIT_INTERNAL)


def declare(
    name: str, *examples: str, epilog: str | None = None, kept: Kept | None = None
) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command; its docstring is the help.

    kept  says of the command's parameters what an interruption leaves, and how to go on
    """
    return click.command(name, cls=Command, examples=examples, epilog=epilog, kept=kept)


def cached(params: Mapping[str, Any]) -> str:
    """What an interruption leaves of a command that collects statistics."""
    if params.get("cache", True):
        return "finished statistics are in the cache, and the same command goes on from them"
    return "nothing is kept under --no-cache"


def write_lines(formatter: click.HelpFormatter, title: str, lines: tuple[str, ...]) -> None:
    """A section of lines that stay as they are."""
    with formatter.section(title):
        for line in lines:
            formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


_DEBUG, DEFAULTS = "emqlang.debug", "emqlang.defaults"


def _common() -> list[click.Parameter]:
    return [
        click.Option(
            ["--no-color"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_no_colour,
            help="Plain text, as under NO_COLOR.",
        ),
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_detail,
            help="No notes and no progress on stderr; warnings and errors are told.",
        ),
        click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_detail,
            help="Say on stderr how long each part of the work took, and the peak of memory.",
        ),
        click.Option(
            ["--debug"],
            is_flag=True,
            expose_value=False,
            callback=_debug,
            help="Show the traceback of an internal error.",
        ),
    ]


def _no_colour(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.color = False


def _detail(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    """Raises BadParameter where two options differ on it."""
    if value and ctx.meta.setdefault(render.DETAIL, param.name) != param.name:
        raise BadParameter("--quiet and --verbose exclude each other", ctx)


def _debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[_DEBUG] = True
