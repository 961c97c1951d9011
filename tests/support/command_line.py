"""Every command, and what it takes."""

from __future__ import annotations

import click

from emqlang import cli
from emqlang.cli import bench, group

NAMES = tuple(name for section in cli.SECTIONS.values() for name in section)
BENCH = tuple(f"bench {name}" for section in bench.command.sections.values() for name in section)
COMMANDS = (*(name for name in NAMES if name != "bench"), *BENCH)


def command_of(words: str) -> cli.base.Command:
    """A command by its words: `eval`, `bench build`."""
    found: click.Command | None = group
    for word in words.split():
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), word)
    assert isinstance(found, cli.base.Command)
    return found
