"""The user's own code: found by name, and run so that what it raises becomes a diagnostic."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from emqlang.grammar.diagnostics import EmqError, error, nearest


def load_object(reference: str) -> Any:
    """What `package.module:name` or `file.py:name` names.

    Raises E301 for a missing file, module or name, and for a file or module that fails.
    """
    place, _, name = reference.rpartition(":")
    if not place or not name:
        raise error("E301", f"'{reference}' is not of the form package.module:name or file.py:name")
    module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
    if not hasattr(module, name):
        raise error("E301", f"{place} has no '{name}'", *nearest(name, vars(module)), path=place)
    return getattr(module, name)


@contextmanager
def foreign(code: str, what: str, path: str = "") -> Iterator[None]:
    """Around code of the user: what it raises becomes an error that names the exception."""
    try:
        yield
    except EmqError:
        raise
    except Exception as reason:  # it may raise anything
        first_line = str(reason).strip().split("\n")[0]
        cause = f"{type(reason).__name__}: {first_line}" if first_line else type(reason).__name__
        raise error(code, f"{what} failed: {cause}", path=path) from reason


def _load_file(path: Path) -> ModuleType:
    name = f"emqlang user code {path.resolve()}"  # no name that an import could mean
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise error("E301", "there is no such file", path=str(path))
    spec = spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # the suffix is .py
    _make_importable(path.resolve().parent)
    module = sys.modules[name] = module_from_spec(spec)  # dataclasses look their module up
    try:
        with foreign("E301", "importing the file", str(path)):
            spec.loader.exec_module(module)
    except EmqError:
        del sys.modules[name]
        raise
    return module


def _load_module(name: str) -> ModuleType:
    _make_importable(Path.cwd())
    with foreign("E301", f"importing {name}"):
        return import_module(name)


def _make_importable(folder: Path) -> None:
    """Let the user's code import what lies beside it, as it can when Python runs it."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
