"""Weights of a network: where they are read from, whether they fit, and the hash that names them."""

from __future__ import annotations

import hashlib
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, urlopen

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from emqlang.grammar.diagnostics import error
from emqlang.quant.user_code import foreign

State = Mapping[str, Tensor]
TIMEOUT = 3.0  # seconds without an answer
SHOWN = 4  # differences named in one message
WRAPPERS = ("state_dict", "model")  # keys under which training scripts store it
PREFIX = "module."  # what DataParallel adds


def sha256(state: State) -> str:
    """Hash over the names in order, shapes, types and bytes of a state dict."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tuple(tensor.shape)}\0{tensor.dtype}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read(path: Path) -> dict[str, Tensor]:
    """A state dict from safetensors, or from torch.save (weights only, no code). Raises E301 or E302."""
    if not path.is_file():
        raise error("E301", "there is no such file", path=str(path))
    what = (
        "reading this as safetensors"
        if path.suffix == ".safetensors"
        else "reading this as a checkpoint of torch.save"
    )
    with foreign("E301", what, str(path)):
        found = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    return _unwrapped(found, path)


def _unwrapped(found: object, path: Path) -> dict[str, Tensor]:
    for key in WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if (
        not isinstance(found, Mapping)
        or not found
        or not all(isinstance(value, Tensor) for value in found.values())
    ):
        help = "save `model.state_dict()` with torch.save, or with safetensors.torch.save_file"
        raise error("E301", "the file holds no state dict of tensors", help, path=str(path))
    prefixed = all(name.startswith(PREFIX) for name in found)
    return {
        name.removeprefix(PREFIX) if prefixed else name: tensor for name, tensor in found.items()
    }


def install(module: nn.Module, state: State, source: str) -> None:
    """Load a state dict into the network, in place. Raises E302, naming the first differences, unless it fits exactly."""
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    needed = {
        name for name in own if not name.endswith("num_batches_tracked")
    }  # absent from checkpoints before torch 0.4.1
    differences = [
        *(f"'{name}' is missing" for name in own if name in needed and name not in state),
        *(f"'{name}' is unknown" for name in state if name not in own),
        *(
            f"'{name}' is {tuple(state[name].shape)} and must be {tuple(value.shape)}"
            for name, value in own.items()
            if name in state and state[name].shape != value.shape
        ),
    ]
    if differences:
        more = f", and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise error(
            "E302",
            f"the weights do not fit {type(module).__name__}: {', '.join(differences[:SHOWN])}{more}",
            path=source,
        )
    check_finite(state, source)
    module.load_state_dict(dict(state), strict=False)


def check_finite(state: State, source: str = "") -> None:
    """Raise E302 for the first tensor with an infinity or NaN."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise error("E302", f"weights '{name}' hold values that are not finite", path=source)


def pretrained(url: str, file_name: str) -> dict[str, Tensor]:
    """An official checkpoint from the torch hub cache, downloaded into it if need be. Raises E307 where neither is possible."""
    cached = Path(torch.hub.get_dir()) / "checkpoints" / file_name
    if not cached.is_file():
        _download(url, cached)
    return read(cached)


def _download(url: str, to: Path) -> None:
    help = (
        f"put {to.name} from {url} into {to.parent}",
        "or give --weights random, or --weights PATH",
    )
    if not _answers(url):
        raise error(
            "E307", f"{to.name} is not in the torch hub cache and {url} does not answer", *help
        )
    to.parent.mkdir(parents=True, exist_ok=True)
    hash_prefix = to.stem.rsplit("-", 1)[-1]
    try:
        with _socket_timeout():
            torch.hub.download_url_to_file(
                url, str(to), hash_prefix=hash_prefix, progress=sys.stderr.isatty()
            )
    except (OSError, RuntimeError) as failure:
        raise error("E307", f"{to.name} could not be downloaded: {failure}", *help) from failure


def _answers(url: str) -> bool:
    """Whether the server is there, asked in a thread of its own: a name lookup knows no time limit."""
    answered = threading.Event()

    def ask() -> None:
        try:
            with urlopen(Request(url, method="HEAD"), timeout=TIMEOUT):
                answered.set()
        except (OSError, HTTPException):
            return

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    return answered.is_set()


@contextmanager
def _socket_timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
