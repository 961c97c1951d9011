"""Our own checkpoint as one file: packed integers, as many bytes of tensors as promised."""

from __future__ import annotations

from pathlib import Path

import torch

from emqlang.grammar.diagnostics import error
from emqlang.quant import sealed
from emqlang.quant.export.subject import Export, Settings, Subject
from emqlang.quant.ptq.quantized import load_quantized


def write(subject: Subject, path: Path, settings: Settings) -> Export:
    """Raises E504 if what was written does not give the same network again."""
    quantized = subject.quantized
    tensors, metadata = quantized.stored()
    path.write_bytes(sealed.pack(tensors, metadata))
    size = sum(tensor.nbytes for tensor in tensors.values())
    held = (f"{size:,} bytes of tensors; the rest of the file is its header",)
    figures = {"tensor_bytes": size}
    if not settings.verify:
        return Export(held, unverified="--no-verify", figures=figures)
    again = load_quantized(path, subject.network)
    one, two = quantized.module.state_dict(), again.module.state_dict()
    same = one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    if not same or quantized.inputs != again.inputs:
        message = "the file does not give the same network again"
        raise error("E504", message, "write it again, to another disk", path=str(path))
    return Export(held, ("loaded again, the same bit for bit",), figures=figures)
