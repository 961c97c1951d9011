"""Weights of a network: whether they fit, official ones, and the hash that names them."""

from __future__ import annotations

import hashlib
import re
import socket
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Final
from urllib.request import Request, urlopen

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from emqlang.grammar.diagnostics import Diagnostic, EmqError, error
from emqlang.quant.models import ModelSpec
from emqlang.quant.networks.checkpoints import parted, read
from emqlang.quant.networks.notices import listed
from emqlang.quant.user_code import foreign

Loaded = tuple[str, tuple[Diagnostic, ...]]  # a label for weights, and what to know of them
State = Mapping[str, Tensor]
TIMEOUT: Final = 3.0  # seconds without an answer
SHOWN: Final = 3  # differences of one kind named in one message
INSIDE: Final = ("_orig_mod.", "module.")  # what wrappers put before the names of a part
SHARD: Final = re.compile(r"-\d+-of-\d+\.safetensors$")
AVERAGES: Final = "n_averaged"  # torch.optim.swa_utils.AveragedModel's count, beside `module.`
FLOATS: Final = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})


def sha256(state: State) -> str:
    """The hash of the names in order, shapes, types and bytes of a state dict."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tuple(tensor.shape)}\0{tensor.dtype}\0".encode())
        digest.update(tensor.reshape(-1).contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def install(module: nn.Module, state: State, source: str) -> None:
    """Load a state dict into the network, in place.

    Names may have what wrappers put before the network's own. A floating-point tensor may have
    another width than the network's; whole numbers must be the same numbers there.
    Raises E302, naming the first differences, unless everything fits and is finite.
    """
    kind = type(module).__name__
    with foreign("E302", f"asking {kind} for its weights", source):
        wanted = {k: v for k, v in module.state_dict().items() if isinstance(v, Tensor)}
    given, state = state, fitting(wanted, state)
    differences = [_listed(kind) for kind in _differences(wanted, state) if kind]
    if differences:
        message = f"the weights do not fit {kind}: {'; '.join(differences)}"
        raise error("E302", message, *_other_names(wanted, given, source), path=source)
    for name, tensor in state.items():
        _check_type(name, tensor, wanted[name], source)
    check_finite({k: tensor.to(wanted[k].dtype) for k, tensor in state.items()}, source)
    with foreign("E302", f"loading the weights into {kind}", source):
        module.load_state_dict(dict(state), strict=False)


def fitting(wanted: Iterable[str], state: State) -> State:
    """The state dict without what wrappers put there, if that fits better: parts of names, a count.

    A first part goes where all names have it; what torch.compile and DataParallel put before the
    names of a part of the network goes anywhere.
    """
    names = set(wanted)
    own = {name: value for name, value in state.items() if name != AVERAGES or name in names}
    best, tried = state, {tuple(own)}
    waiting: list[State] = [own]
    while waiting:
        state = waiting.pop(0)
        if len(names ^ state.keys()) < len(names ^ best.keys()):
            best = state
        for other in _renamings(state):
            if len(other) == len(state) and tuple(other) not in tried:
                tried.add(tuple(other))
                waiting.append(other)
    return best


def _renamings(state: State) -> Iterator[State]:
    if len({name.partition(".")[0] for name in state if "." in name}) == 1:
        yield {name.partition(".")[2]: tensor for name, tensor in state.items()}
    for part in INSIDE:
        pattern = re.compile(rf"(?<![^.]){re.escape(part)}")
        yield {pattern.sub("", name): tensor for name, tensor in state.items()}


def _other_names(wanted: State, state: State, source: str) -> Iterator[str]:
    """How to give the weights, where some of the file's names would fit, or what may be missing."""
    for part in dict.fromkeys(name.partition(".")[0] for name in state):
        under = {
            n.removeprefix(f"{part}."): t for n, t in state.items() if n.startswith(f"{part}.")
        }
        if not any(_differences(wanted, fitting(wanted, under))):
            joint = "." if ":" in Path(source).name else ":"
            yield f"the weights under '{part}' fit: --weights {source}{joint}{part}"
    if SHARD.search(source):
        yield f"this is one shard: give {SHARD.sub('.safetensors.index.json', source)}"
    if _differences(wanted, fitting(wanted, state))[2]:
        yield "build the network as it was when they were saved: its classes, its sizes"


def _differences(wanted: State, state: State) -> tuple[list[str], list[str], list[str]]:
    """What keeps a state dict from fitting: names missing, names unknown, other shapes."""
    shared = {_place(wanted[name]) for name in state if name in wanted} - {None}
    missing = [
        f"'{name}' is missing"
        for name, value in wanted.items()
        if name not in state
        and not name.endswith("num_batches_tracked")  # checkpoints before torch 0.4.1 lack it
        and _place(value) not in shared  # tied weights may be there once
    ]
    unknown = [f"'{name}' is unknown" for name in state if name not in wanted]
    shapes = [
        f"'{name}' is {tuple(state[name].shape)} and must be {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in state and not is_lazy(value) and state[name].shape != value.shape
    ]
    return missing, unknown, shapes


def _place(tensor: Tensor) -> tuple[int, tuple[int, ...], tuple[int, ...]] | None:
    """Where a tensor's values lie; None of one without values of its own."""
    if is_lazy(tensor) or _oddity(tensor) or not tensor.numel():
        return None
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride()


def _listed(differences: Sequence[str]) -> str:
    more = f" and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
    return ", ".join(differences[:SHOWN]) + more


def _check_type(name: str, given: Tensor, wanted: Tensor, source: str) -> None:
    """Raises E302 for a tensor that the network's own cannot hold."""
    if oddity := _oddity(given):
        raise error("E302", f"weights '{name}' are {oddity}", path=source)
    ours, theirs = wanted.dtype, given.dtype
    if ours in FLOATS or theirs == ours:
        fits = theirs in FLOATS or theirs == ours
    elif ours.is_floating_point or ours.is_complex or theirs.is_complex:
        fits = ours.is_complex and theirs.is_complex
    else:
        fits = torch.equal(given.to(ours).to(theirs), given)
    if not fits:
        kinds = [str(each).removeprefix("torch.") for each in (theirs, ours)]
        message = f"weights '{name}' are {kinds[0]} and must be {kinds[1]}"
        raise error("E302", message, "save them as floating-point numbers", path=source)


def _oddity(tensor: Tensor) -> str | None:
    """What keeps a tensor's values from being read."""
    if tensor.is_quantized:
        return "quantized already"
    if tensor.is_nested or tensor.layout != torch.strided:
        return "sparse or nested"
    return "on the meta device, without values" if tensor.is_meta else None


def check_finite(state: State, source: str = "") -> None:
    """Raise E302 for the first tensor that cannot be read, or has an infinity or NaN."""
    for name, tensor in state.items():
        if oddity := _oddity(tensor):
            raise error("E302", f"weights '{name}' are {oddity}", path=source)
        narrow = tensor.is_floating_point() and tensor.dtype not in FLOATS
        values = tensor.float() if narrow else tensor
        if not torch.isfinite(values).all():
            raise error("E302", f"weights '{name}' hold values that are not finite", path=source)


def pretrained(url: str, file_name: str) -> dict[str, Tensor]:
    """An official checkpoint from the torch hub cache, downloaded into it if need be.

    Raises E307 where neither is possible.
    """
    cached = Path(torch.hub.get_dir()) / "checkpoints" / file_name
    if not cached.is_file():
        _download(url, cached)
    return read(cached).state


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


def spec_weights(module: nn.Module, spec: ModelSpec, weights: str | None, seed: int) -> Loaded:
    """Put the wanted weights into a newly built network."""
    embedded = spec.embedded_path
    if weights is None and embedded is not None and embedded.is_file():
        install(module, read(embedded).state, str(embedded))
        return "embedded", ()
    if weights == "random":
        return f"random, seed {seed}", ()
    if weights not in (None, "pretrained"):
        return _file_weights(module, weights)
    try:
        if not spec.checkpoint:
            message = f"there are no official weights of '{spec.name}'"
            raise error("E307", message, "leave --weights out, or give a path")
        install(module, pretrained(spec.url, spec.checkpoint), spec.checkpoint)
        return "pretrained", ()
    except EmqError as failure:
        if weights is None and failure.diagnostics[0].code == "E307":
            return f"random, seed {seed}", ()
        raise


def factory_weights(module: nn.Module, weights: str | None, seed: int) -> Loaded:
    """Leave what the factory gave, or put other weights into its network."""
    if weights is None:
        return "factory", ()
    if weights == "pretrained":
        raise error(
            "E307",
            "only built-in networks have official weights",
            "let the factory load them, or give --weights PATH",
        )
    if weights != "random":
        return _file_weights(module, weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in module.modules():
            if callable(reset := getattr(part, "reset_parameters", None)):
                reset()
    return f"random, seed {seed}", ()


def _file_weights(module: nn.Module, text: str) -> Loaded:
    path, place = parted(text)
    saved = read(path, place)
    install(module, saved.state, text)
    others = [other for other, state in saved.beside.items() if _rivals(saved.state, state)]
    if place or not others:
        return text, ()
    message = f"the weights are those under '{saved.place}'; {path.name} has others too: "
    help = f"take these with --weights {path.name}:{others[0]}"
    return text, (Diagnostic("W621", message + listed(others), help=(help,), path=text),)


def _rivals(state: State, other: State) -> bool:
    """Whether another state dict of a file looks as if it were of the same network, and differs."""
    other = fitting(state, other)
    shared = [name for name in state if name in other and state[name].shape == other[name].shape]
    return 2 * len(shared) > len(state) and not all(
        torch.equal(state[name], other[name].to(state[name].dtype)) for name in shared
    )
