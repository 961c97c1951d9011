"""JSON into types: what does not fit is one error that names the field."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from emqlang.grammar.diagnostics import error

T = TypeVar("T")


def read_json(text: str, code: str, name: str, path: str = "") -> Any:
    """The values in a text; `name` says what it is, as 'the recipe'. Raises the code's error."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError) as reason:
        raise error(code, f"{name} is not JSON: {reason}", path=path) from reason


def typed(value: Any, kind: type[T], code: str, name: str, path: str = "") -> T:
    """Plain values as a type that msgspec knows. Raises the code's error."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as reason:
        fault, _, place = str(reason).partition(" - at ")
        field = place.strip("`").removeprefix("$").removeprefix(".")
        where = f"{name}, {field}" if field else name
        raise error(code, f"{where}: {fault[0].lower()}{fault[1:]}", path=path) from None
