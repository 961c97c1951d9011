"""A quantized network as integer operations."""

from __future__ import annotations

from torch import nn

from emqlang.api import arguments, networks
from emqlang.api.networks import Data, Model
from emqlang.api.words import in_python
from emqlang.grammar.diagnostics import error
from emqlang.quant.networks.signature import Forward
from emqlang.quant.ptq.quantized import Quantized, identity
from emqlang.quant.ptq.recipe import check_fits


@in_python
def integers(
    model: Model, quantized: Quantized, data: Data | None = None, *, forward: Forward | None = None
) -> nn.Module:
    """The quantized network in integer arithmetic: codes, 32-bit sums, products and shifts alone.

    model  the float network that it was made from
    data   of which the first batch shows what a network of your own takes
    The module takes what the network takes and answers in floating point: both ends are converted,
    and between them is no other number than integers (HAWQ-V3, arXiv 2011.10680; docs/integer.md).
    `emq.evaluate(module, batches, reference=quantized.module)` compares the two. Its `accumulators`
    have the bits that are proven to hold every sum. Raises E304, E305, E308, E310, E403 for what
    is no quantized network, E411, and E412 for an operation that has no integer form, by its name.
    """
    from emqlang.quant.integer.network import integer_network  # torch.export takes a second

    arguments.network(model)
    if not isinstance(quantized, Quantized):
        message = f"quantized is a {type(quantized).__name__}"
        raise error("E403", message, "emq.quantize makes one, and emq.load_quantized reads one")
    given = () if data is None or isinstance(data, str) else arguments.batches(data)
    batch = arguments.first(given) if given != () else None
    network = networks.ready(model, batch, forward, given)
    names = [layer.name for layer in network.collection.layers]
    check_fits(quantized.recipe, identity(network), names, network.collection.why_none)
    return integer_network(network, quantized)
