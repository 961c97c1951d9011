"""Arguments of the Python API, as the command line writes them.

Numbers, lists and mappings become texts; what is neither is E403, or E304 for data and E305 for
networks.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count, islice
from math import inf, isfinite
from numbers import Integral
from typing import Any, Final, SupportsFloat

import torch
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError, error, nearest
from emqlang.grammar.program import Program
from emqlang.quant.bits.budget import QUANTITIES
from emqlang.quant.data.loader import (
    LONGEST,
    check_several,
    check_workers,
    endless,
    without_tensors,
)
from emqlang.quant.networks.batches import held, rows
from emqlang.quant.networks.nested import tensors
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.quantized import Quantized
from emqlang.quant.ptq.recipe import Procedure
from emqlang.quant.statistics.options import ROUNDINGS
from emqlang.quant.user_code import Iterated
from emqlang.tasks.problem import Constraints
from emqlang.tasks.workbench import Workbench

Check = tuple[Callable[[Any], bool], str]  # whether a value is allowed, and what is
CALIBRATION = Procedure().images  # images that calibrate, where nothing else is said
_EXACT = {"size": "{}B", "bops": "{}e-6M", "latency": "{}ns", "avg-bits": "{}"}


def check(**values: Any) -> None:
    """Raises E403 for the first value that its row of the table does not allow."""
    for name, value in values.items():
        allowed, wanted = CHECKS[name]
        if not allowed(value):
            raise _wrong(name, value, wanted)


def _whole(least: int, most: float = inf) -> Check:
    wanted = f"a whole number, {least} or more" if most == inf else f"one of {least} to {most}"
    return lambda value: _is_whole(value) and least <= value <= most, wanted


def _or_none(check: Check) -> Check:
    allowed, wanted = check
    return lambda value: value is None or allowed(value), wanted


def _one_of(*words: str) -> Check:
    return lambda value: value in words, f"one of {', '.join(words)}"


def _function(of: str) -> Check:
    return lambda value: value is None or callable(value), f"a function of {of}"


def _is_device(value: Any) -> bool:
    try:
        return value == "auto" or (isinstance(value, str) and bool(torch.device(value)))
    except RuntimeError:
        return False


_FLAG: Final[Check] = (lambda value: isinstance(value, bool), "True or False")
_TEXT: Final[Check] = (lambda value: isinstance(value, str), "a text")
CHECKS: Final[Mapping[str, Check]] = {
    "accounting": _one_of("full", "weights", "emq"),
    "act_bits": _whole(2, 8),
    "calib_images": _whole(1),
    "columns": _TEXT,
    "device": (_is_device, "'auto', 'cpu' or 'cuda'"),
    "forward": _function("model and batch"),
    "hessian_samples": _whole(2),
    "hold_unmeasured": _FLAG,
    "images": _whole(1),
    "iterations": _whole(1),
    "label_draws": _or_none(_whole(1)),
    "loss": (
        lambda value: value is None or isinstance(value, str) or callable(value),
        "'label', or a function",
    ),
    "method": _one_of("exact", "sample"),
    "metric": _function("outputs and batch"),
    "own_loss": _function("outputs and batch"),
    "partial": _FLAG,
    "polish": _whole(0),
    "progress": _function("progress"),
    "proxy": (lambda value: isinstance(value, str | Program), "a text or a program"),
    "rounding": (
        lambda value: value in ROUNDINGS,
        f"one of {', '.join(ROUNDINGS)}: statistics are of one layer, and brecq rounds several",
    ),
    "samples": _whole(1),
    "seed": _whole(0),
    "stat_images": _or_none(_whole(1)),
    "statistics": (lambda value: isinstance(value, Workbench), "what emq.collect returns"),
    "tie": _TEXT,
}


def listed(name: str, value: Any) -> str:
    """A menu: '2,3,4', 4, or [2, 3, 4]."""
    if isinstance(value, str):
        return value
    entries = [value] if _is_whole(value) else value
    if isinstance(entries, Iterable):
        entries = list(entries)
        if entries and all(map(_entry, entries)):
            return ",".join(map(str, entries))
    raise _wrong(name, value, "a text such as '2,3,4', a number, or a list of them")


def fixed(value: Any) -> str:
    """Fixed layers: 'conv1=8,fc=8', or {'conv1': 8, 'fc': 8}."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and all(
        isinstance(layer, str) and _entry(bits) for layer, bits in value.items()
    ):
        return ",".join(f"{layer}={bits}" for layer, bits in value.items())
    raise _wrong("fix", value, "a text such as '0=8', or a dict of layers to bits")


def amount(name: str, value: Any) -> str | None:
    """A budget: as the command line writes it, or a number of the quantity's smallest unit."""
    if value is None or isinstance(value, str):
        return value
    unit = QUANTITIES[name].unit
    if isinstance(value, bool) or not _is_finite(value):
        example = QUANTITIES[name].example
        raise _wrong(name.replace("-", "_"), value, f"'{example}', or a number of {unit}")
    number = float(value)
    if name == "avg-bits" and not number.is_integer():
        return repr(number)
    return _EXACT[name].format(int(value) if isinstance(value, int) else int(number))


def constraints(**given: Any) -> Constraints:
    """Fields of `Constraints`, with budgets and layers as `assign` takes them. Raises E403."""
    table, budgets = given.pop("latency_table"), ("size", "bops", "latency", "avg_bits")
    given |= {name: amount(name.replace("_", "-"), given[name]) for name in budgets}
    given["fix"] = fixed(given["fix"])
    check(**{name: given[name] for name in given.keys() & CHECKS.keys()})
    return Constraints(**given, latency_table=None if table is None else str(table))


def _is_finite(value: Any) -> bool:
    try:
        return isinstance(value, SupportsFloat) and isfinite(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # a tensor, 10 ** 5000
        return False


def network(model: Any) -> Any:
    """A network, or its name. Raises E305 for anything else."""
    if isinstance(model, nn.Module | Network | Quantized | str):
        return model
    message = f"the network is a {type(model).__name__}"
    raise error("E305", message, "give a torch.nn.Module, or a name such as 'file.py:factory'")


def batches(data: Any) -> Any:
    """Data: a name, or batches that can be iterated over more than once. Raises E304."""
    if isinstance(data, str):
        return data
    if not isinstance(data, Iterable) or isinstance(data, Mapping | Tensor):
        message = f"the data is a {type(data).__name__}"
        help = "give a list of batches: tensors, or tuples of inputs and labels"
        raise error("E304", message, help)
    if isinstance(data, list | tuple):
        check_several(data, "the data")
        return data
    check_workers(data, "the data")
    own = Iterated(data, "E304", "the data")
    return _Kept(own) if isinstance(data, Iterator) else own


class _Kept:
    """The batches of what can be gone through once: copies of those that were asked for."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self._left, self._kept = iter(batches), list[Any]()

    def __iter__(self) -> Iterator[Any]:
        for number in count():
            if number == len(self._kept):
                self._kept += held(islice(self._left, 1))
            if number == len(self._kept):
                return
            yield self._kept[number]


def ending(data: Any) -> Iterator[Any]:
    """The batches, which are all wanted. Raises E304 for more than LONGEST rows without a length.

    A list or a loader has one.
    """
    plain = data.iterable if isinstance(data, Iterated) else data
    left = inf if hasattr(plain, "__len__") else LONGEST
    for number, batch in enumerate(data):
        if not tensors(batch):
            raise without_tensors(batch, f"batch {number} of the data")
        left -= rows(batch)
        if left < 0:
            raise endless("the data")
        yield batch


def first(data: Iterable[Any]) -> Any:
    """A copy of the first batch that has rows. Raises E304 where there is none."""
    for number, batch in enumerate(data):
        if not tensors(batch):
            raise without_tensors(batch, f"batch {number} of the data")
        if rows(batch):
            return held([batch])[0]
    raise error("E304", "the data has no batches", "a generator can be gone through only once")


def calibrating(data: Iterable[Any], images: int | None) -> tuple[Iterable[Any], int]:
    """The data, and how many of its images calibrate: if not said, what there is up to 1,024."""
    if images is not None:
        return data, images
    taken, found = list[Any](), 0
    for batch in data:
        taken += held([batch])
        found += rows(batch)
        if found >= CALIBRATION:
            return taken, CALIBRATION
    return taken, found


def procedure(settings: Mapping[str, Any], images: int) -> Procedure:
    """How to quantize. Raises E403 for a setting that there is not, or a bad value."""
    known = [name for name in Procedure.__struct_fields__ if name != "step_iterations"]
    for name, value in settings.items():
        if name not in known:
            help = (*nearest(name, known), f"settings are {', '.join(known)}")
            raise error("E403", f"there is no setting '{name}'", *help)
        default = getattr(Procedure(), name)
        if type(value) is not type(default):
            raise _wrong(name, value, f"a value such as {default!r}")
    check(images=images)
    chosen = Procedure(**settings, images=images)
    if chosen.iterations < 1:
        raise _wrong("iterations", chosen.iterations, "a whole number, 1 or more")
    return chosen


def _entry(value: Any) -> bool:
    """Whether this is one entry of a menu."""
    return isinstance(value, str) or _is_whole(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _wrong(name: str, value: Any, wanted: str) -> EmqError:
    try:
        shown = reprlib.repr(value)
    except Exception:  # it may be anything
        shown = f"a {type(value).__name__}"
    return error("E403", f"{name} is {' '.join(shown.split())}", f"give {wanted}")
