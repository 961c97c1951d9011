"""The user's own code: found by name, and run so that what it raises becomes a diagnostic."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from emqlang.grammar.diagnostics import EmqError, error, nearest
from emqlang.quant.determinism import drawing
from emqlang.store import is_file

LONGEST: Final = 400  # characters of an exception that are shown
FED: Final = "say how it is fed: --forward file.py:function of (model, batch)"
OWN_TYPE: Final = "give inputs of the type that the network's weights have"
IN_PLACE: Final = "gradients pass through here: write `x = x + y` for `x += y`, or clone x first"
# What torch says -> what to do about it.
ADVICE: Final = {
    "use_reentrant": "call torch.utils.checkpoint.checkpoint with use_reentrant=False",
    "modified by an inplace operation": IN_PLACE,
    "being modified inplace": IN_PLACE,
    "used in an in-place operation": IN_PLACE,
    "required positional argument": FED,
    "positional arguments but": FED,
    "positional argument but": FED,
    "unexpected keyword argument": FED,
    "type should be the same": OWN_TYPE,
    "(float) should be the same": OWN_TYPE,
    "must have the same dtype": OWN_TYPE,
    "Inference tensors cannot": "gradients pass through here: leave out torch.inference_mode",
}


def load_object(reference: str) -> Any:
    """What `package.module:name` or `file.py:name` names.

    Raises E301 for a missing file, module or name, and for a file or module that fails.
    """
    place, _, name = reference.rpartition(":")
    if not place or not name:
        raise error("E301", f"'{reference}' is not of the form package.module:name or file.py:name")
    module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
    with foreign("E301", f"looking for '{name}'", place):
        if hasattr(module, name):
            return getattr(module, name)
    raise error("E301", f"{place} has no '{name}'", *nearest(name, vars(module)), path=place)


class Enough(BaseException):
    """Raised by hooks of ours to end the user's forward early."""


def load_function(reference: str, what: str) -> Callable[..., Any]:
    """The function that `package.module:name` or `file.py:name` names. Raises E301, E403."""
    function = load_object(reference)
    if not callable(function):
        message = f"{reference} is of type {type(function).__name__}, not a function"
        raise error("E403", message, f"it is to be {what}")
    called: Callable[..., Any] = function
    return called


@contextmanager
def foreign(code: str, what: str, path: str = "", seed: int | None = None) -> Iterator[None]:
    """Around every run of code of the user.

    What it raises, sys.exit included, becomes an error that names the exception. What it prints
    goes to stderr. With a seed, it draws the same random numbers every time, and the generators
    that it shares with the rest of the process are left as they were.
    """
    try:
        with redirect_stdout(sys.stderr), nullcontext() if seed is None else drawing(seed):
            yield
    except (EmqError, KeyboardInterrupt, GeneratorExit, Enough):
        raise
    except BaseException as reason:  # it may raise anything
        message = f"{what} failed: {cause(reason)}"
        raise error(code, message, *_advice(_said(reason)), path=path) from reason


@dataclass(frozen=True)
class Iterated:
    """What an iterable of the user gives, however often it is gone through, under `foreign`."""

    iterable: Iterable[Any]
    code: str
    what: str

    def __iter__(self) -> Iterator[Any]:
        end = object()
        with foreign(self.code, self.what):
            parts = iter(self.iterable)
        while True:
            with foreign(self.code, self.what):
                part = next(parts, end)
            if part is end:
                return
            yield part


def cause(reason: BaseException) -> str:
    """An exception on one line: its type, and what it says."""
    kind, said = type(reason).__name__, first_sentence(_said(reason))
    return f"{kind}: {said}" if said else kind


def first_sentence(text: str) -> str:
    """The first line of a text, with what it goes on to say where it ends in the middle.

    Nothing in it steers a terminal.
    """
    lines = [" ".join(line.split()) for line in _plain(text).strip().splitlines()]
    said = lines[0] if lines else ""
    for line in lines[1:]:
        if not said.endswith((",", ":", ";", "(", "-")):
            break
        said = f"{said} {line}".strip()
    return said if len(said) <= LONGEST else f"{said[:LONGEST]}..."


def _plain(text: str) -> str:
    """A text without escape sequences; other characters that cannot be shown are escaped."""
    text = re.sub(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-Z\\^_])", "", text)
    return "".join(c if c.isprintable() or c in "\n\t " else ascii(c)[1:-1] for c in text)


def _said(reason: BaseException) -> str:
    try:
        return str(reason)
    except Exception:  # of the user's own __str__
        return ""


def _advice(said: str) -> Iterator[str]:
    """What to do about what torch says."""
    yield from (help for words, help in ADVICE.items() if words in said)


def _load_file(path: Path) -> ModuleType:
    if not is_file(path):
        raise error("E301", "there is no such file", path=str(path))
    name = f"emqlang user code {path.resolve()}"  # no name that an import could mean
    if name in sys.modules:
        return sys.modules[name]
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
