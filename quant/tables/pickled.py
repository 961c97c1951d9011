"""The value in a pickle, read without running anything that is in it.

A pickle is a program for a small stack machine. This machine knows plain values alone: what would import or call something is
no op of it.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
# fmt: off
_ATOMS = frozenset((
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
))
# fmt: on
_EMPTY: Mapping[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}
_GATHERED: Mapping[str, Callable[[list[Any]], Any]] = {
    "TUPLE": tuple,
    "LIST": list,
    "DICT": lambda items: _pairs(items),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


def plain_value(data: bytes) -> Any:
    """The value of a pickle of numbers, texts, lists, tuples and dicts. Raises ValueError for any other."""
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            machine.step(opcode.name, argument)
        (value,) = machine.stack
    except (IndexError, KeyError, TypeError, ValueError) as reason:
        raise ValueError(str(reason) or "it is cut short") from reason
    return value


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, op: str, argument: Any) -> None:
        stack = self.stack
        if op in _ATOMS:
            stack.append(argument)
        elif op in _CONSTANTS:
            stack.append(_CONSTANTS[op])
        elif op in _EMPTY:
            stack.append(_EMPTY[op]())
        elif op == "MARK":
            stack.append(_MARK)
        elif op in _TUPLES:
            stack[-_TUPLES[op] :] = [tuple(stack[-_TUPLES[op] :])]
        elif op in ("TUPLE", "LIST", "DICT"):
            stack.append(_GATHERED[op](self._since_mark()))
        elif op in ("APPEND", "APPENDS"):
            items = [stack.pop()] if op == "APPEND" else self._since_mark()
            stack[-1].extend(items)
        elif op in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if op == "SETITEM" else self._since_mark()
            stack[-1].update(_pairs(items))
        elif op in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else argument] = stack[-1]
        elif op in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif op not in ("PROTO", "FRAME", "STOP"):
            raise ValueError(f"it holds {op}, which is more than a value")

    def _since_mark(self) -> list[Any]:
        place = len(self.stack) - 1 - self.stack[::-1].index(_MARK)
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items


def _pairs(items: Sequence[Any]) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))
