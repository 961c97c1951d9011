"""Files of weights: the state dict in what people save, read without running code of theirs."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, Final
from zipfile import ZipFile, is_zipfile

import msgspec
import torch
from safetensors.torch import load_file
from torch import Tensor

from emqlang.grammar.diagnostics import EmqError, error, nearest
from emqlang.quant.user_code import foreign
from emqlang.store import is_file, is_folder

# Keys under which training scripts store a state dict, the likeliest first.
WRAPPERS: Final = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema")
DEPTH: Final = 8  # of wrappers in wrappers
SHOWN: Final = 4  # entries named in one message
HELP: Final = "save `model.state_dict()` with torch.save, or with safetensors.torch.save_file"
AGAIN: Final = "fetch or save it again"
Keys = tuple[str, ...]
INDEX: Final = ".safetensors.index.json"
HEADER: Final = b"\0\0\0{"  # of safetensors: the upper bytes of its length, and its beginning
ARCHIVE, PICKLED = b"PK\x03\x04", b"\x80"  # how files of torch.save begin, now and before 1.6
# What a tensor is rebuilt by; nothing else that a file names is looked up.
REBUILDERS: Final = frozenset(
    f"_rebuild_{kind}"
    for kind in (
        "tensor",
        "tensor_v2",
        "tensor_v3",
        "parameter",
        "parameter_with_state",
        "sparse_tensor",
        "qtensor",
        "meta_tensor_no_storage",
    )
)


@dataclass(frozen=True)
class Saved:
    """A state dict that a file holds.

    place   the keys on the way to it, joined by dots; '' where the file is the state dict
    beside  the file's other state dicts by their places, such as a moving average
    """

    state: dict[str, Tensor]
    place: str = ""
    beside: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


class Inert:
    """An inert object stands in for one of another class: it takes everything and does nothing."""

    def __new__(cls, *args: Any, **named: Any) -> Inert:
        return object.__new__(cls)

    def __init__(self, *args: Any, **named: Any) -> None: ...
    def __setstate__(self, state: Any) -> None: ...
    def __setitem__(self, key: Any, value: Any) -> None: ...
    def append(self, value: Any) -> None: ...
    def extend(self, values: Any) -> None: ...
    def __call__(self, *args: Any, **named: Any) -> Inert:
        return self


class _Unpickler(pickle.Unpickler):
    """Tensors and plain containers as they are, everything else Inert."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch._utils" and name in REBUILDERS:
            return getattr(torch._utils, name)
        if module in ("torch", "torch.storage"):
            found = getattr(torch.storage if module == "torch.storage" else torch, name, None)
            if isinstance(found, torch.dtype) or name in ("Size", "device"):
                return found
            if isinstance(found, type) and name.endswith("Storage"):
                return found
        return type(name, (Inert,), {"__module__": module})


def parted(text: str) -> tuple[Path, str]:
    """A file, and the place in it that `file:place` names."""
    path, _, place = text.rpartition(":")
    return (Path(path), place) if path and not is_file(Path(text)) else (Path(text), "")


def read(path: Path, place: str = "") -> Saved:
    """A state dict from safetensors, or from torch.save: its own, or one that is wrapped in what a
    training script saves. No code of the file is run.

    place  where the state dict is; by default under the first of WRAPPERS, or the only one there
    Raises E301.
    """
    if not is_file(path):
        folder = isinstance(path, Path) and is_folder(path)
        message = "this is a folder: name the file in it" if folder else "there is no such file"
        raise error("E301", message, path=str(path))
    if path.name.endswith(INDEX):
        content: object = _shards(path)
    elif _is_safetensors(path):
        with foreign("E301", "reading this as safetensors", str(path)):
            content = load_file(path)
    else:
        with foreign("E301", "reading this as a checkpoint of torch.save", str(path)):
            _check_start(path)
            _check_archive(path)
            content = _unpickled(path)
    states = dict(_states_in(content))
    if not states:
        raise _stateless(content, path)
    if place and (part := _named_under(states, place)):
        return Saved(part, place)
    keys = _chosen(states, place, path)
    beside = {".".join(other): state for other, state in states.items() if other != keys}
    return Saved(dict(states[keys]), ".".join(keys), beside)


def _is_safetensors(path: Path) -> bool:
    """Whether it begins as such a file does; of what begins as no known one, its name decides."""
    with path.open("rb") as file:
        start = file.read(len(HEADER) + 5)
    pickled = start.startswith((ARCHIVE, PICKLED))
    return start[5:] == HEADER or (path.suffix == ".safetensors" and not pickled)


def _shards(path: Path) -> dict[str, Tensor]:
    """The tensors of all files that an index names. Raises E301."""
    try:
        places = msgspec.json.decode(path.read_bytes(), type=_Index).weight_map
    except msgspec.DecodeError as reason:
        message = f"the file is no index of shards: {reason}"
        raise error("E301", message, AGAIN, path=str(path)) from reason
    found: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        shard = path.parent / name
        if Path(name).name != name or not is_file(shard):
            raise error("E301", f"its shard '{name}' is not beside it", path=str(path))
        with foreign("E301", "reading this as safetensors", str(shard)):
            found |= load_file(shard)
    if absent := places.keys() - found.keys():
        message = f"its shards lack {len(absent)} tensors, such as '{min(absent)}'"
        raise error("E301", message, AGAIN, path=str(path))
    return {name: found[name] for name in places}


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


def _named_under(states: Mapping[Keys, Mapping[str, Tensor]], place: str) -> dict[str, Tensor]:
    """The tensors of a state dict whose names begin with a place that is none of a state dict."""
    for keys, state in states.items():
        start = place.removeprefix("".join(f"{key}." for key in keys)) + "."
        if ".".join(keys) != place and (
            found := [name for name in state if name.startswith(start)]
        ):
            return {name.removeprefix(start): state[name] for name in found}
    return {}


def _check_start(path: Path) -> None:
    """Raises E301 for a file that torch.save cannot have written, or whose end is missing."""
    with path.open("rb") as file:
        start = file.read(len(ARCHIVE))
    if start == ARCHIVE and not is_zipfile(path):
        raise error("E301", "the file is cut off: its end is missing", AGAIN, path=str(path))
    if start != ARCHIVE and not start.startswith(PICKLED):
        message = "the file is empty" if not start else "torch.save did not write this file"
        named = "weights in safetensors are in a file *.safetensors"
        raise error("E301", message, AGAIN, named, path=str(path))


def _check_archive(path: Path) -> None:
    """Raises E301 for an archive whose parts have changed: torch does not look at checksums."""
    if not is_zipfile(path):
        return
    with ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.filename.endswith("/constants.pkl") for entry in entries):
            raise error("E301", "the file is a TorchScript archive, not a state dict", HELP)
        if not any(entry.CRC for entry in entries):  # torch may be told to leave them out
            return
        damaged = archive.testzip()
    if damaged is not None:
        message = f"the file is damaged: the checksum of its part '{damaged}' is wrong"
        raise error("E301", message, AGAIN, path=str(path))


def _unpickled(path: Path) -> object:
    with path.open("rb") as file:  # of a path, torch would read the name
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:  # objects of other classes lie beside the weights
            file.seek(0)
            inert = SimpleNamespace(__name__="inert", Unpickler=_Unpickler, load=_load)
            return torch.load(file, map_location="cpu", weights_only=False, pickle_module=inert)


def _load(file: IO[bytes], **settings: Any) -> Any:
    return _Unpickler(file, **settings).load()


def _states_in(content: object, keys: Keys = ()) -> Iterator[tuple[Keys, Mapping[str, Tensor]]]:
    """Every state dict in what a file holds, with the keys on the way to it."""
    if not isinstance(content, Mapping) or len(keys) > DEPTH:
        return
    if _is_state(content):
        yield keys, content
        return
    for key, part in content.items():
        if isinstance(key, str):
            yield from _states_in(part, (*keys, key))


def _chosen(states: Mapping[Keys, object], place: str, path: Path) -> Keys:
    """The state dict at a place; without one the first under WRAPPERS, else the only one that lies
    least deep. Raises E301."""
    places = {".".join(keys): keys for keys in states}
    if place in places:
        return places[place]
    more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
    listed = f"{', '.join(map(repr, [*places][:SHOWN]))}{more}"
    if place:
        help = (*nearest(place, places), f"it holds {listed}" if states.keys() != {()} else "")
        message = f"the file has no state dict '{place}'"
        raise error("E301", message, *filter(None, help), path=str(path))
    wrapped = [keys for keys in states if all(key in WRAPPERS for key in keys)]
    if wrapped:
        return min(wrapped, key=lambda keys: [WRAPPERS.index(key) for key in keys])
    depth = min(map(len, states))
    first, *rest = (keys for keys in states if len(keys) == depth)
    if rest:
        help = (f"say which: --weights {path.name}:{'.'.join(first)}",)
        message = f"the file holds {len(states)} state dicts: {listed}"
        raise error("E301", message, *help, path=str(path))
    return first


def _is_state(content: object) -> bool:
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(isinstance(name, str) for name in content)
        and all(isinstance(value, Tensor) for value in content.values())
    )


def _stateless(content: object, path: Path) -> EmqError:
    """E301 that says what the file holds in place of a state dict."""
    kind = type(content)
    if isinstance(content, Inert):
        holds = f"a pickled object of class {kind.__module__}.{kind.__qualname__}"
    elif not isinstance(content, Mapping):
        holds = f"an object of type {kind.__name__}"
    elif not content:
        holds = "an empty dict"
    else:
        entries = [f"{key!r} ({type(value).__name__})" for key, value in content.items()]
        odd = [
            entry
            for entry, (key, value) in zip(entries, content.items(), strict=True)
            if not (isinstance(key, str) and isinstance(value, Tensor))
        ]
        more = f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else ""
        beside = " beside tensors" if len(odd) < len(entries) else ""
        holds = f"{', '.join(odd[:SHOWN])}{more}{beside}"
    return error(
        "E301", f"the file holds {holds}, and no state dict of tensors", HELP, path=str(path)
    )
