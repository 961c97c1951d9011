"""Unfinished work in a file, which only the same work goes on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import blake2b
from json import dumps
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from emqlang.quant import sealed

UNFINISHED: Final = "unfinished.safetensors"  # in the folder of a result


class Unfinished:
    """Tensors, and texts beside them, in a file.

    facts  what the work is: of other facts, or of another torch, nothing is taken up
    note   told why what is there is not used, and where it is now
    """

    def __init__(self, path: Path, facts: Any, note: Callable[[str], None]) -> None:
        self.path, self.note = path, note
        text = dumps([facts, torch.__version__])
        self.digest = blake2b(text.encode(), digest_size=16).hexdigest()

    def save(self, tensors: Mapping[str, Tensor], **texts: str) -> None:
        parts = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        sealed.write(self.path, parts, {"of": self.digest, **texts})

    def load(self) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        """What is there of the same work. Anything else is set aside, and None."""
        try:
            tensors, texts, whole = sealed.read(self.path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as reason:
            self._set_aside(str(reason))
            return None
        if texts.pop("of", None) != self.digest or not whole:
            self._set_aside("it is of other bits, options or versions")
            return None
        return tensors, texts

    def _set_aside(self, reason: str) -> None:
        aside = self.path.with_suffix(".damaged")
        with suppress(OSError):
            self.path.replace(aside)
        self.note(f"what was learned before is not used: {reason}; it is now {aside}")
