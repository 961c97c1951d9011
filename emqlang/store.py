"""Files that are either whole or not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from secrets import token_hex


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Writes beside `path` and renames, so that a reader or a crash never meets half a file; folders are made as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        write(part)
        part.chmod(0o644)  # safetensors leaves its files to the owner alone
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
