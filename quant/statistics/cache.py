"""Statistics on disk: one safetensors file each, found by its key, believed only if its digest is right."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from emqlang.grammar.diagnostics import Diagnostic, error
from emqlang.quant.statistics.table import Measured
from emqlang.store import write_atomically

FORMAT = "emqlang-statistic-1"
FOLDER = "statistics"


def default_root() -> Path:
    """$XDG_CACHE_HOME/emqlang, or ~/.cache/emqlang."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emqlang"


@dataclass(frozen=True)
class Usage:
    """What the cache holds."""

    directory: Path
    files: int
    bytes: int


def info(root: Path | None = None) -> Usage:
    """How many files the cache has, and how large they are together."""
    folder = (root or default_root()) / FOLDER
    sizes = []
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # another process may be at work
                sizes.append((Path(place) / name).stat().st_size)
    return Usage(folder, len(sizes), sum(sizes))


def clear(root: Path | None = None) -> Usage:
    """Removes every file of the cache; returns what there was. Raises E301 where they cannot be removed."""
    usage = info(root)
    try:
        if usage.directory.is_dir():
            shutil.rmtree(usage.directory)
    except OSError as reason:
        raise error(
            "E301", f"the cache could not be cleared: {reason}", path=str(usage.directory)
        ) from reason
    return usage


@dataclass
class Cache:
    """The files of one network; `warnings` are W604 and W609, as they come up."""

    root: Path
    network: str
    warnings: list[Diagnostic] = field(default_factory=list)

    def load(self, name: str, key: str) -> Measured | None:
        """A statistic, memory-mapped; None if it is not there. A damaged or foreign file is set aside, with W604."""
        path = self._path(name, key)
        try:
            if not path.is_file():
                return None
            found = _read(path, name, key)
        except FileNotFoundError:  # removed since
            return None
        except (OSError, SafetensorError, ValueError) as reason:
            self._set_aside(path, str(reason))
            return None
        return Measured(found["values"], found.get("error"))

    def store(self, name: str, key: str, measured: Measured) -> None:
        """Keeps a statistic if all of it is finite. W609 if it cannot be written."""
        tensors = {"values": measured.values} | (
            {} if measured.error is None else {"error": measured.error}
        )
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            return
        kept = {part: tensor.cpu().contiguous() for part, tensor in tensors.items()}
        metadata = {"format": FORMAT, "name": name, "key": key, "digest": _digest(kept)}
        try:
            write_atomically(self._path(name, key), lambda file: save_file(kept, file, metadata))
        except (OSError, SafetensorError) as reason:
            self.warnings.append(
                Diagnostic("W609", f"'{name}' was not cached: {reason}", path=str(self.root))
            )

    def _path(self, name: str, key: str) -> Path:
        return self.root / FOLDER / self.network / f"{name}-{key}.safetensors"

    def _set_aside(self, path: Path, reason: str) -> None:
        message = f"a cached statistic is computed again: {reason}"
        self.warnings.append(Diagnostic("W604", message, path=str(path)))
        try:
            path.replace(path.with_suffix(".damaged"))
        except OSError as failure:
            self.warnings.append(
                Diagnostic("W609", f"the damaged file stays: {failure}", path=str(path))
            )


def _read(path: Path, name: str, key: str) -> dict[str, Tensor]:
    """The tensors of a file that is what its name says. Raises ValueError if it is not, OSError, SafetensorError."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if (metadata.get("format"), metadata.get("name"), metadata.get("key")) != (
            FORMAT,
            name,
            key,
        ):
            raise ValueError("the file was written for something else")
        found = {part: file.get_tensor(part) for part in file.keys()}  # noqa: SIM118
    if "values" not in found or metadata.get("digest") != _digest(found):
        raise ValueError("the file's contents have changed since it was written")
    return found


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Of names, types, shapes and bytes."""
    digest = blake2b(digest_size=16)
    for part in _parts(tensors):
        digest.update(part)
    return digest.hexdigest()


def _parts(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    for name in sorted(tensors):
        tensor = tensors[name]
        yield json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode()
        yield tensor.reshape(-1).view(torch.uint8).numpy().data
