"""Weights of a network: their files, whether they fit, and the hash that names them."""

from __future__ import annotations

import hashlib
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.request import Request, urlopen

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from emqlang.grammar.diagnostics import error
from emqlang.quant.user_code import foreign

State = Mapping[str, Tensor]
TIMEOUT: Final = 3.0  # seconds without an answer
SHOWN: Final = 4  # differences named in one message
WRAPPERS: Final = ("state_dict", "model")  # keys under which training scripts store it
PREFIX: Final = "module."  # what DataParallel adds


def sha256(state: State) -> str:
    """The hash of the names in order, shapes, types and bytes of a state dict."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tuple(tensor.shape)}\0{tensor.dtype}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read(path: Path) -> dict[str, Tensor]:
    """A state dict from safetensors, or from torch.save (weights only, no code). Raises E301."""
    if not path.is_file():
        raise error("E301", "there is no such file", path=str(path))
    if path.suffix == ".safetensors":
        with foreign("E301", "reading this as safetensors", str(path)):
            return _unwrapped(load_file(path), path)
    with foreign("E301", "reading this as a checkpoint of torch.save", str(path)):
        return _unwrapped(torch.load(path, map_location="cpu", weights_only=True), path)


def _unwrapped(content: object, path: Path) -> dict[str, Tensor]:
    """The state dict in what a file holds."""
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    state = content if isinstance(content, Mapping) else {}
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        help = "save `model.state_dict()` with torch.save, or with safetensors.torch.save_file"
        raise error("E301", "the file holds no state dict of tensors", help, path=str(path))
    prefix = PREFIX if all(name.startswith(PREFIX) for name in state) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def install(module: nn.Module, state: State, source: str) -> None:
    """Load a state dict into the network, in place.

    Raises E302, naming the first differences, unless it fits exactly and is finite.
    """
    differences = list(_differences(module.state_dict(), state))
    if differences:
        more = f", and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        first = ", ".join(differences[:SHOWN])
        kind = type(module).__name__
        raise error("E302", f"the weights do not fit {kind}: {first}{more}", path=source)
    check_finite(state, source)
    module.load_state_dict(dict(state), strict=False)


def _differences(wanted: Mapping[str, object], state: State) -> Iterator[str]:
    """What keeps a state dict from fitting."""
    tensors = {name: value for name, value in wanted.items() if isinstance(value, Tensor)}
    for name in tensors:  # checkpoints before torch 0.4.1 lack num_batches_tracked
        if name not in state and not name.endswith("num_batches_tracked"):
            yield f"'{name}' is missing"
    for name in state:
        if name not in tensors:
            yield f"'{name}' is unknown"
    for name, value in tensors.items():
        if name in state and state[name].shape != value.shape:
            yield f"'{name}' is {tuple(state[name].shape)} and must be {tuple(value.shape)}"


def check_finite(state: State, source: str = "") -> None:
    """Raise E302 for the first tensor with an infinity or NaN."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise error("E302", f"weights '{name}' hold values that are not finite", path=source)


def pretrained(url: str, file_name: str) -> dict[str, Tensor]:
    """An official checkpoint from the torch hub cache, downloaded into it if need be.

    Raises E307 where neither is possible.
    """
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
        message = f"{to.name} is not in the torch hub cache and {url} does not answer"
        raise error("E307", message, *help)
    to.parent.mkdir(parents=True, exist_ok=True)
    hash_prefix = to.stem.rsplit("-", 1)[-1]
    progress = sys.stderr.isatty()
    try:
        with _socket_timeout():
            torch.hub.download_url_to_file(url, str(to), hash_prefix, progress)
    except (OSError, RuntimeError) as failure:
        raise error("E307", f"{to.name} could not be downloaded: {failure}", *help) from failure


def _answers(url: str) -> bool:
    """Whether the server is there; in a thread of its own, as a name lookup knows no time limit."""
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
