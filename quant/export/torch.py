"""A program of torch.export, with weights and inputs on their grids, as float32."""

from __future__ import annotations

from pathlib import Path

import torch

from emqlang.grammar.diagnostics import error
from emqlang.quant.export.program import converting, fed, trace
from emqlang.quant.export.subject import DIFFERS, Export, Settings, Subject
from emqlang.quant.networks.nested import tensors

HELD = "weights and inputs on their grids, as float32; as many bytes as the float network"


def write(subject: Subject, path: Path, settings: Settings) -> Export:
    """Raises E411 for a network that cannot be traced, E504 if the program answers otherwise."""
    network, quantized = subject.network, subject.quantized
    program = trace(network, quantized, {site.name: grid for site, grid in quantized.inputs})
    with converting(network):
        torch.export.save(program, path)
    if not settings.verify:
        return Export((HELD,), unverified="--no-verify")
    with converting(network), torch.no_grad():
        leaves = tensors(fed(network.example, network.signature))
        answers = torch.export.load(path).module()(*leaves)
        plain = quantized.rebuilt(network, {site.name: grid for site, grid in quantized.inputs})
        expected = tensors(network.forward(plain, network.example))
    if not all(map(torch.equal, answers, expected)):
        raise error("E504", "the program that is loaded answers otherwise", *DIFFERS)
    return Export((HELD,), (f"loaded by torch {torch.__version__}, equal answers",))
