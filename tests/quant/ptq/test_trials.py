"""Configurations measured on one copy of the network, as `quantize` would make each."""

from __future__ import annotations

import pytest

from emqlang.quant.bits.menu import Choice
from emqlang.quant.networks.batches import take
from emqlang.quant.networks.network import load
from emqlang.quant.ptq.evaluate import evaluate
from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.quantized import identity
from emqlang.quant.ptq.recipe import Procedure, uniform
from emqlang.quant.ptq.splits import calibration_images
from emqlang.quant.ptq.trials import Trials


def test_it_is_what_quantizing_gives() -> None:
    """But for ranges of inputs, which are those of the float network."""
    network = load("resnet18-fmnist")
    batches = take(calibration_images(network, None, 0, 128), 128)
    trials = Trials(network, batches, 8)
    names = [layer.name for layer in network.collection.layers]
    groups = len(network.collection.groups)
    for bits in (2, 4):
        recipe = uniform(identity(network), names, bits, 8)
        module = quantize(network, recipe, batches, Procedure(images=128)).module
        expected = evaluate(module, batches, signature=network.signature).loss
        assert trials.loss([Choice(bits)] * groups) == pytest.approx(expected, rel=0.02)
    first = trials.loss([Choice(2)] * groups)
    trials.loss([Choice(4)] * groups, 0.5)
    assert trials.loss([Choice(2)] * groups) == first and trials.measure == "cross entropy"
