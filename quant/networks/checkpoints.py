"""Files of weights: the state dict in what people save, read without running code of theirs."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, Final
from zipfile import ZipFile, is_zipfile

import torch
from safetensors.torch import load_file
from torch import Tensor

from emqlang.grammar.diagnostics import EmqError, error
from emqlang.quant.user_code import foreign
from emqlang.store import is_file

# Keys under which training scripts store a state dict, the likeliest first.
WRAPPERS: Final = ("state_dict", "model_state_dict", "model", "net", "state_dict_ema")
DEPTH: Final = 8  # of wrappers in wrappers
SHOWN: Final = 4  # entries named in one message
HELP: Final = "save `model.state_dict()` with torch.save, or with safetensors.torch.save_file"
AGAIN: Final = "fetch or save it again"
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


def read(path: Path) -> dict[str, Tensor]:
    """A state dict from safetensors, or from torch.save: its own, or the one that is wrapped in
    what a training script saves. No code of the file is run. Raises E301."""
    if not is_file(path):
        raise error("E301", "there is no such file", path=str(path))
    if path.suffix == ".safetensors":
        with foreign("E301", "reading this as safetensors", str(path)):
            content: object = load_file(path)
    else:
        with foreign("E301", "reading this as a checkpoint of torch.save", str(path)):
            _check_start(path)
            _check_archive(path)
            content = _unpickled(path)
    state = _state_in(content)
    if state is None:
        raise _stateless(content, path)
    return dict(state)


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
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # objects of other classes lie beside the weights
        inert = SimpleNamespace(__name__="inert", Unpickler=_Unpickler, load=_load)
        return torch.load(path, map_location="cpu", weights_only=False, pickle_module=inert)


def _load(file: IO[bytes], **settings: Any) -> Any:
    return _Unpickler(file, **settings).load()


def _state_in(content: object, depth: int = DEPTH) -> Mapping[str, Tensor] | None:
    """The state dict in what a file holds: itself, under one of WRAPPERS, or the only one there."""
    if not isinstance(content, Mapping) or not depth:
        return None
    if _is_state(content):
        return content
    for key in WRAPPERS:
        if (state := _state_in(content.get(key), depth - 1)) is not None:
            return state
    states = [value for value in content.values() if _is_state(value)]
    return states[0] if len(states) == 1 else None


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
