"""Defaults of options from a file: `emqlang.toml`, or `[tool.emqlang]` of `pyproject.toml`.

    model = "vgg-fmnist"     # of every command that has the option
    [evolve]
    evals = 50_000           # of one command; of `bench build`, [bench.build]

The nearest file counts, from the current folder upwards. What a command line says comes first.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from emqlang.grammar.diagnostics import error, nearest

FILES: Final = ("emqlang.toml", "pyproject.toml")


def defaults(context: click.Context) -> tuple[dict[str, Any], str]:
    """Parameter -> value, of the command that the context is of, and where they stand.

    Raises E301 for a file that cannot be read, E403 for an option that the command has not.
    """
    path, table = _found(Path.cwd())
    if not table:
        return {}, ""
    options = {
        name.removeprefix("--"): param
        for param in context.command.params
        if isinstance(param, click.Option) and param.expose_value
        for name in param.opts
    }
    shared = {name: value for name, value in table.items() if not isinstance(value, Mapping)}
    own: Any = table
    for word in context.command_path.split()[1:]:
        own = own.get(word, {}) if isinstance(own, Mapping) else {}
    own = own if isinstance(own, Mapping) and own is not table else {}
    values: dict[str, Any] = {}
    for name, value in {**shared, **own}.items():
        flag = name.replace("_", "-")
        if flag in options:
            values[str(options[flag].name)] = _typed(options[flag], value)
        elif name in own and not isinstance(value, Mapping):
            message = f"{context.command_path} has no option --{flag}"
            raise error("E403", message, *nearest(flag, options), path=str(path))
    return values, str(path)


def _typed(option: click.Option, value: Any) -> Any:
    """As click takes it: a list only where the option may be repeated."""
    if isinstance(value, list) and not option.multiple:
        return ",".join(map(str, value))
    if option.multiple and not isinstance(value, list):
        return [value]
    return value


def _found(folder: Path) -> tuple[Path | None, Mapping[str, Any]]:
    """The nearest file that says something, and what it says."""
    for place in (folder, *folder.parents):
        for name in FILES:
            if (path := place / name).is_file():
                table = _read(path)
                if name == FILES[1]:
                    table = table.get("tool", {}).get("emqlang", {})
                if table:
                    return path, table
    return None, {}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as reason:
        if path.name == FILES[1]:  # not ours to judge
            return {}
        raise error("E301", f"the file cannot be read: {reason}", path=str(path)) from reason
