"""Every command, and what it takes."""

from __future__ import annotations

import click

from emqlang import cli
from emqlang.cli import bench, group, plot

NAMES = tuple(name for section in cli.SECTIONS.values() for name in section)
GROUPS = {"bench": bench.command, "plot": plot.command}
WITHIN = tuple(
    f"{within} {name}"
    for within, command in GROUPS.items()
    for section in command.sections.values()
    for name in section
)
BENCH = tuple(name for name in WITHIN if name.startswith("bench "))
COMMANDS = (*(name for name in NAMES if name not in GROUPS), *WITHIN)


def command_of(words: str) -> cli.base.Command:
    """A command by its words: `eval`, `bench build`."""
    found: click.Command | None = group
    for word in words.split():
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), word)
    assert isinstance(found, cli.base.Command)
    return found
