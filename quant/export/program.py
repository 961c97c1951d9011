"""The quantized network as one function of tensors, which torch.export can trace."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from emqlang.grammar.diagnostics import EmqError, error
from emqlang.quant.networks.batches import rows_at
from emqlang.quant.networks.nested import mapped, tensors
from emqlang.quant.networks.network import Network
from emqlang.quant.networks.signature import Signature
from emqlang.quant.ptq.quantized import Quantized

Quantizers = Mapping[str, Callable[[Tensor], Tensor]]  # by site
_COLOUR = re.compile(r"\x1b\[\d*m")
_RAISED = "The following call raised this error:"  # in what torch.export says
_LINE = re.compile(r'File "([^"]+)", line (\d+), in .*\n(.*)')
EXAMPLE = 2  # rows that are traced: 1 would be taken for a constant


class Function(nn.Module):
    """Tensors, in the order in which a batch holds them, to the tensors that the network returns.

    network     with quantizers on its inputs
    quantizers  those of them that are modules, so that their buffers have names
    like        a batch, of which only the nest is used
    """

    def __init__(
        self, network: nn.Module, quantizers: Quantizers, like: Any, signature: Signature
    ) -> None:
        super().__init__()
        self.network, self.like, self.signature = network, like, signature
        self.quantizers = nn.ModuleList(
            each for each in quantizers.values() if isinstance(each, nn.Module)
        )

    def forward(self, *leaves: Tensor) -> tuple[Tensor, ...]:
        given = iter(leaves)
        batch = mapped(lambda leaf: next(given), self.like)
        return tuple(tensors(self.signature.forward(self.network, batch)))


def fed(batch: Any, signature: Signature) -> Any:
    """What of a batch the function takes: all of it where the user's own forward reads it."""
    return batch if signature.own else signature.parts(batch)


def trace(network: Network, quantized: Quantized, quantizers: Quantizers) -> ExportedProgram:
    """The program of the quantized network: for any number of rows, or, where its code does not
    allow that, for one.

    Raises E411 for a forward that torch.export cannot trace, in its words.
    """
    signature = network.signature
    module, batch = quantized.rebuilt(network, quantizers), fed(network.example, signature)

    def traced(count: int) -> ExportedProgram:
        example = rows_at(batch, torch.zeros(count, dtype=torch.long))
        leaves = tuple(tensors(example))
        function = Function(module, quantizers, example, signature).eval()
        free = [count > 1 and leaf.ndim > 0 and len(leaf) == count for leaf in leaves]
        shapes = (tuple({0: Dim.AUTO} if any_rows else None for any_rows in free),)
        return torch.export.export(function, leaves, dynamic_shapes=shapes)

    with converting(network), torch.no_grad():
        program = traced(EXAMPLE)
        return program if program.range_constraints else traced(1)


@contextmanager
def converting(network: Network) -> Iterator[None]:
    """Turns what a converter raises into E411; what it says by the way is not shown."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    except EmqError:
        raise
    except Exception as reason:  # torch has no class for all that it cannot convert
        message = f"the forward of {type(network.module).__name__} cannot be converted"
        help = "replace the operation that it names; --to safetensors needs no forward"
        raise error("E411", f"{message}: {_said(reason)}", help) from reason
    finally:
        logging.disable(disabled)


def _said(reason: BaseException) -> str:
    """The first cause in a line: where in the user's code, if it says so, and the operation."""
    while reason.__cause__ is not None:
        reason = reason.__cause__
    text, _, place = _COLOUR.sub("", str(reason)).partition(_RAISED)
    said = " ".join(text.split())[:200]
    match = _LINE.search(place)
    where = f"{Path(match[1]).name}, line {match[2]}, `{match[3].strip()[:80]}`: " if match else ""
    return f"{where}{type(reason).__name__}: {said}"
