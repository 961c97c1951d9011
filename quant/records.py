"""Types as JSON, and JSON into types: what does not fit is one error that names the field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from emqlang.grammar.diagnostics import error
from emqlang.store import as_path, write_text, writing

T = TypeVar("T")


class Saved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record that is a file of its own."""

    def as_json(self) -> str:
        return json.dumps(msgspec.to_builtins(self), indent=2, allow_nan=False) + "\n"

    def save(self, path: str | Path) -> None:
        """Raises E301 where the file cannot be written."""
        path = as_path(path)
        with writing(path):
            write_text(path, self.as_json())


def read_json(text: str, code: str, name: str, path: str = "") -> Any:
    """The values in a text; `name` says what it is, as 'the recipe'. Raises the code's error."""
    try:
        msgspec.json.decode(text)  # stricter than `json`: no NaN
        return json.loads(text, object_pairs_hook=_once)
    except (msgspec.DecodeError, RecursionError, ValueError) as reason:
        raise error(code, f"{name} is not JSON: {reason}", path=path) from reason


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object. Raises ValueError for a key that is there twice."""
    record = dict(pairs)
    if len(record) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key '{twice}' is there twice")
    for text in (*record, *(value for value in record.values() if isinstance(value, str))):
        text.encode()  # raises UnicodeEncodeError, a ValueError, for half of a surrogate pair
    return record


def typed(value: Any, kind: type[T], code: str, name: str, path: str = "") -> T:
    """Plain values as a type that msgspec knows. Raises the code's error."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as reason:
        fault, _, place = str(reason).partition(" - at ")
        field = place.strip("`").removeprefix("$").removeprefix(".")
        where = f"{name}, {field}" if field else name
        raise error(code, f"{where}: {fault[0].lower()}{fault[1:]}", path=path) from None
