"""Statistics on disk: one safetensors file each, found by its key and checked by its digest."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from safetensors import SafetensorError, safe_open

from emqlang.grammar.diagnostics import Diagnostic, error
from emqlang.quant.statistics.table import Measured
from emqlang.store import write_atomically

if TYPE_CHECKING:
    pass

FORMAT: Final = "emqlang-statistic-1"
FOLDER: Final = "statistics"
UNMEASURED: Final = "unmeasured"  # layer -> reason, as JSON


def default_root() -> Path:
    """$XDG_CACHE_HOME/emqlang, or ~/.cache/emqlang."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emqlang"


@dataclass(frozen=True)
class Usage:
    """The cache's folder, and the number and size of the files in it."""

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
    """Remove every file of the cache; returns what there was. Raises E301 if they cannot be."""
    usage = info(root)
    try:
        if usage.directory.is_dir():
            shutil.rmtree(usage.directory)
    except OSError as reason:
        message = f"the cache could not be cleared: {reason}"
        raise error("E301", message, path=str(usage.directory)) from reason
    return usage


@dataclass
class Cache:
    """The cached statistics of one network; `warnings` are W604 and W609, as they come up.

    older  whether files are read that do not say where a statistic could not be measured
    """

    root: Path
    network: str
    older: bool = True
    warnings: list[Diagnostic] = field(default_factory=list)

    def load(self, name: str, key: str) -> Measured | None:
        """A statistic, memory-mapped; None if it is not there.

        A damaged file, or one of something else, is set aside with W604.
        """
        path = self._path(name, key)
        try:
            if not path.is_file():
                return None
            tensors, unmeasured = read(path, name, key)
            if unmeasured is None and not self.older:
                return None
        except FileNotFoundError:  # removed since
            return None
        except (OSError, SafetensorError, ValueError) as reason:
            self._set_aside(path, str(reason))
            return None
        return Measured(tensors["values"], tensors.get("error"), unmeasured or {})

    def store(self, name: str, key: str, measured: Measured) -> None:
        """Keep a statistic if all of it is finite. W609 if it cannot be written."""
        from safetensors.torch import save_file

        parts = {"values": measured.values, "error": measured.error}
        tensors = {part: t.cpu().contiguous() for part, t in parts.items() if t is not None}
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            return
        unmeasured = json.dumps(dict(sorted(measured.unmeasured.items())))
        metadata = {"format": FORMAT, "name": name, "key": key, UNMEASURED: unmeasured}
        metadata["digest"] = _digest(tensors, unmeasured)
        try:
            write_atomically(self._path(name, key), lambda file: save_file(tensors, file, metadata))
        except (OSError, SafetensorError) as reason:
            self._warn("W609", f"'{name}' was not cached: {reason}", self.root)

    def _path(self, name: str, key: str) -> Path:
        return path_of(self.root, self.network, name, key)

    def _set_aside(self, path: Path, reason: str) -> None:
        self._warn("W604", f"a cached statistic is computed again: {reason}", path)
        try:
            path.replace(path.with_suffix(".damaged"))
        except OSError as failure:
            self._warn("W609", f"the damaged file stays: {failure}", path)

    def _warn(self, code: str, message: str, path: Path) -> None:
        self.warnings.append(Diagnostic(code, message, path=str(path)))


def path_of(root: Path, network: str, name: str, key: str) -> Path:
    """Where a statistic of a network is kept."""
    return root / FOLDER / network / f"{name}-{key}.safetensors"


def read(
    path: Path, name: str, key: str, library: Literal["pt", "np"] = "pt"
) -> tuple[dict[str, Any], dict[int, str] | None]:
    """The tensors of a file, and the layers without a value, None if it does not say.

    library  whose tensors: torch's, memory-mapped, or numpy's arrays
    Raises ValueError or SafetensorError if it is not what its name says, or OSError.
    """
    expected = {"format": FORMAT, "name": name, "key": key}
    with safe_open(path, framework=library) as file:
        metadata = file.metadata() or {}
        if not expected.items() <= metadata.items():
            raise ValueError("the file was written for something else")
        tensors = {part: file.get_tensor(part) for part in file.keys()}  # noqa: SIM118
    unmeasured = metadata.get(UNMEASURED, "")
    if "values" not in tensors or metadata.get("digest") != _digest(tensors, unmeasured):
        raise ValueError("the file's contents have changed since it was written")
    if not unmeasured:
        return tensors, None
    return tensors, {int(index): reason for index, reason in json.loads(unmeasured).items()}


def _digest(tensors: Mapping[str, Any], unmeasured: str) -> str:
    """32 hex digits of BLAKE2b over names, types, shapes and bytes, and what was not measured.

    A file that names no such layer has the digest that it had before there were any.
    """
    digest = blake2b(b"" if unmeasured in ("", "{}") else unmeasured.encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        array = np.asarray(tensor)
        digest.update(json.dumps([name, f"torch.{array.dtype}", list(array.shape)]).encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
