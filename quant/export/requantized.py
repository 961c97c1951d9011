"""What it costs to round a recipe's weights to another quantizer's grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from emqlang.quant.export.subject import Subject
from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.plain import copied
from emqlang.quant.ptq.evaluate import Quality, evaluate, predict
from emqlang.quant.ptq.grids import WeightQuantizer
from emqlang.quant.ptq.quantized import install


def compared(
    subject: Subject, grid: WeightQuantizer, names: Sequence[str], title: str
) -> tuple[str, dict[str, Any]]:
    """A line, and figures: these layers' weights on the recipe's grid and on the other.

    All inputs, and all other layers, stay in float.
    """
    network, data = subject.network, subject.images()
    reference = predict(network.module, data, signature=network.signature)
    before = reference.evaluate()
    layers = [layer for layer in network.collection.layers if layer.name in names]

    def quality(values: Callable[[Layer], Tensor]) -> Quality:
        module = copied(network.module).requires_grad_(False)
        for layer in layers:
            install(module, layer, values(layer))
        after = evaluate(module, data, reference=reference, signature=network.signature)
        return after.quality(before)

    def theirs(layer: Layer) -> Tensor:
        scheme = subject.recipe.layers[layer.name].weight
        assert scheme is not None
        rows = layer.rows(layer.weight.detach())
        fitted = grid.fit(rows, scheme.num_bits)
        return fitted.values(fitted.codes(rows))

    own = quality(lambda layer: subject.quantized.weights[layer.name].values)
    other = quality(theirs)
    line = (
        f"{own.measure} {own.value:.2%} on the recipe's grid, {other.value:.2%} on {title}'s, "
        f"{own.reference:.2%} in float; on {before.images:,} images, with inputs in float"
    )
    figures = {"float": own.reference, "recipe": own.value, "requantized": other.value}
    return line, {"measure": own.measure, "images": before.images, **figures}
