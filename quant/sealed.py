"""Safetensors files of ours: whole, the same bytes twice, with a digest over what they say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor

from emqlang.store import write_atomically

DIGEST = "digest"


class Changed(ValueError):
    """A file that was edited or damaged."""


def digest_of(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> str:
    """32 hex digits of BLAKE2b over names, types, shapes and bytes, and over metadata if given."""
    digest = blake2b(digest_size=16)
    if metadata is not None:
        digest.update(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        # A single element may have any stride, and clones and reshapes keep it.
        flat = tensor.reshape(-1).as_strided((tensor.numel(),), (1,))
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes tensors on the CPU, contiguous, with metadata and a digest of both. Raises OSError."""
    data = pack(tensors, metadata)
    write_atomically(path, lambda part: part.write_bytes(data))


def pack(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """What `write` writes."""
    data = save(dict(tensors), metadata={**metadata, DIGEST: digest_of(tensors, metadata)})
    header, rest = _parts(data)
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join((len(text).to_bytes(8, "little"), text, rest))


def unpack(data: bytes, metadata: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors of what `pack` made with this metadata. Raises ValueError for anything else."""
    try:
        tensors = load(data)
    except SafetensorError as reason:
        raise ValueError(str(reason)) from reason
    if _parts(data)[0].get("__metadata__", {}).get(DIGEST) != digest_of(tensors, metadata):
        raise Changed("the contents have changed since they were written")
    return tensors


def _parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and tensors."""
    length = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:length]), data[length:]


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str], bool]:
    """Tensors, metadata, and whether there was a digest.

    Raises Changed for one that is wrong, ValueError for a file of another kind, and OSError.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as reason:
        raise ValueError(str(reason)) from reason
    digest = metadata.pop(DIGEST, None)
    if digest not in (None, digest_of(tensors, metadata)):
        raise Changed("its contents have changed since it was written")
    return tensors, metadata, digest is not None
