"""What a collection was, beside its statistics: the next one needs no network, image or torch.

There are records of networks and images that come with this package alone, whose whole content a
record's key covers: the options, every byte of the weights and images, every source file of the
packages that take statistics, the versions of this package and of torch, and numpy's. Whatever of
that changes has another key, and is collected anew. A record names the files of the statistics by
their own keys, and each is checked against its digest, as anywhere; one that is not whole is left
to the collection, which says so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import DecodeError, Struct, json
from msgspec.structs import replace
from numpy.typing import NDArray
from safetensors import SafetensorError

from emqlang import __version__
from emqlang.grammar.diagnostics import Diagnostic
from emqlang.quant.bits.menu import Choice
from emqlang.quant.models import EMBEDDED, MODELS
from emqlang.quant.networks.facts import NetworkFacts
from emqlang.quant.statistics.cache import FOLDER, path_of, read
from emqlang.quant.statistics.table import unmeasured_in, warnings_of
from emqlang.store import write_atomically

RECORDS: Final = "records"
PACKAGES: Final = ("emqlang.quant", "emqlang.grammar", "emqlang.tasks")
# Without these devices Linux has no GPU that torch could compute on.
GPUS: Final = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")


class Record(Struct, frozen=True):
    """A collection: the fields of `Statistics`, without arrays, and where those are.

    source  the images, in words; empty if none were read
    folder  of the network's cached statistics
    keys    of the statistics, by name
    """

    network: NetworkFacts
    source: str
    folder: str
    fingerprint: str
    offsets: dict[str, tuple[int, ...]]
    totals: dict[str, tuple[int, ...]]
    rows: tuple[int, ...]
    keys: dict[str, str]


class _Sealed(Struct, frozen=True):
    """A record as a file holds it, with a digest that tells whether it was edited or damaged."""

    key: str
    digest: str
    record: Record


@dataclass(frozen=True)
class Device:
    """Main memory, as torch.device('cpu') says it."""

    type: str = "cpu"


@dataclass(frozen=True, eq=False)
class Kept:
    """Statistics that were collected before; the fields are those of `Statistics`."""

    fingerprint: str
    layers: tuple[str, ...]
    offsets: Mapping[str, tuple[int, ...]]
    totals: Mapping[str, tuple[int, ...]]
    rows: tuple[int, ...]
    choices: tuple[Choice, ...]
    arrays: Mapping[str, NDArray[Any]]
    warnings: tuple[Diagnostic, ...]
    unmeasured: Mapping[str, Mapping[str, str]]
    device: Device = field(default_factory=Device)

    def array(self, name: str) -> NDArray[Any]:
        """As `Statistics.array`."""
        return self.arrays[name]


def key_of(model: str, data: str, facts: Sequence[Any]) -> str:
    """Of a shipped network, images that are shipped or none, and plain values: all else that the
    statistics depend on. Empty for a network without shipped weights."""
    spec = MODELS.get(model)
    if spec is None or spec.embedded_path is None:
        return ""
    files = [spec.embedded_path, *([EMBEDDED / f"{data}.safetensors"] if data else ())]
    parts = [model, data, facts, _versions(), _code(), *map(_digest_of, files)]
    return blake2b(json.encode(parts), digest_size=16).hexdigest()


def has_no_gpu() -> bool:
    """Whether there is surely none, without asking torch."""
    if sys.platform == "darwin":
        return True  # torch's CUDA is not there
    return sys.platform == "linux" and not any(map(os.path.exists, GPUS))


def find(root: Path, key: str) -> Record | None:
    """The record of this key, None without one that is whole."""
    with suppress(OSError, DecodeError):
        sealed = json.decode(_path(root, key).read_bytes(), type=_Sealed)
        if (sealed.key, sealed.digest) == (key, _seal(sealed.record)):
            return sealed.record
    return None


def load(
    root: Path, record: Record, names: Iterable[str], choices: Sequence[Choice]
) -> Kept | None:
    """The named statistics; None if one is not there, or not whole."""
    arrays, unmeasured = dict[str, NDArray[Any]](), dict[str, Mapping[int, str]]()
    for name in dict.fromkeys(names):
        if name not in record.keys:
            return None
        path = path_of(root, record.folder, name, record.keys[name])
        try:
            parts, places = read(path, name, record.keys[name], "np")
        except (OSError, SafetensorError, ValueError):
            return None
        arrays[name], unmeasured[name] = parts["values"], places or {}
    layers = tuple(layer.name for layer in record.network.collection.layers)
    missing = unmeasured_in(layers, unmeasured)
    return Kept(
        fingerprint=record.fingerprint,
        layers=layers,
        offsets=record.offsets,
        totals=record.totals,
        rows=record.rows,
        choices=tuple(choices),
        arrays=arrays,
        warnings=tuple(warnings_of(missing)),
        unmeasured=missing,
    )


def store(root: Path, key: str, record: Record) -> None:
    """Keeps a record; what one of the same collection says of other statistics stays.

    A cache that cannot be written is no obstacle: the statistics have said so.
    """
    known = find(root, key)
    if known is not None and known.fingerprint == record.fingerprint:
        record = replace(record, keys={**known.keys, **record.keys})
        if record == known:
            return
    data = json.encode(_Sealed(key, _seal(record), record))
    with suppress(OSError):
        write_atomically(_path(root, key), lambda part: part.write_bytes(data))


def _path(root: Path, key: str) -> Path:
    return root / FOLDER / RECORDS / f"{key}.json"


def _seal(record: Record) -> str:
    return blake2b(json.encode(record), digest_size=16).hexdigest()


@cache
def _versions() -> list[str]:
    """This package, Python, numpy, and torch: its own file of versions, which is not imported."""
    spec = find_spec("torch")
    place = Path(str(spec.origin)).with_name("version.py") if spec else None
    torch = _digest_of(place) if place and place.is_file() else ""
    return [__version__, sys.version, np.__version__, torch]


@cache
def _code() -> str:
    """Of every source file of the packages that take statistics."""
    digest = blake2b(digest_size=16)
    for package in PACKAGES:
        spec = find_spec(package)
        folders = spec.submodule_search_locations or () if spec else ()
        files = chain.from_iterable(Path(folder).rglob("*.py") for folder in folders)
        for path in sorted(files):
            content = path.read_bytes()
            digest.update(json.encode([package, path.name, len(content)]))
            digest.update(content)
    return digest.hexdigest()


def _digest_of(path: Path) -> str:
    status = path.stat()
    return _digest_as_it_is(path, status.st_mtime_ns, status.st_size)


@cache
def _digest_as_it_is(path: Path, time: int, size: int) -> str:
    """Of a file that last changed at that time; a process reads it once."""
    return blake2b(path.read_bytes(), digest_size=16).hexdigest()
