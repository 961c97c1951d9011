"""Options for places that commands write to, and --force."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from emqlang.grammar.diagnostics import error
from emqlang.tasks.outputs import Output

F = TypeVar("F", bound=Callable[..., Any])


class OutputOption(click.Option):
    """An option that names a place to write to; the command claims it before it does anything."""

    output: Output


def output(name: str, kind: Output, help: str, **settings: Any) -> Callable[[F], F]:
    """An option for a place that is written to, and --force; `name` may be several: '--out -o'."""

    def decorate(function: F) -> F:
        metavar = "FOLDER" if kind.folder else "FILE"
        place = click.Path(path_type=Path)
        option = click.option(
            *name.split(), cls=OutputOption, metavar=metavar, type=place, help=help, **settings
        )
        known = [param.name for param in getattr(function, "__click_params__", ())]
        function = function if "force" in known else force(function)
        function = option(function)
        function.__click_params__[-1].output = kind  # type: ignore[attr-defined]
        return function

    return decorate


force = click.option(
    "--force",
    is_flag=True,
    expose_value=False,
    callback=lambda ctx, param, value: ctx.meta.__setitem__(FORCED, value),
    help="Write over what is there.",
)
FORCED = "emqlang.force"
BY_ITSELF = ("experiment",)  # which has a folder without being given one


def claim(kind: Output, path: Path) -> AbstractContextManager[None]:
    """A place that a running command names by itself. Raises E301, E317, E318."""
    return kind.claimed(path, force=click.get_current_context().meta.get(FORCED, False))


@contextmanager
def claimed(ctx: click.Context) -> Iterator[None]:
    """All places that the command line names to be written to. Raises E301, E317, E318."""
    options = [param for param in ctx.command.params if isinstance(param, OutputOption)]
    every = [option.opts[0] for option in options]
    with ExitStack() as stack:
        places = [(option, ctx.params.get(option.name or "")) for option in options]
        given = [(option.output, path) for option, path in places if path is not None]
        for kind, path in given:
            stack.enter_context(claim(kind, path))
        if ctx.meta.get(FORCED) and ctx.command.name not in BY_ITSELF and not given:
            message = f"--force is not used without {' or '.join(every)}"
            raise error("E403", message, "leave --force out")
        yield
