"""The integer form of each operation, and the table that says which have one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.fx import Node

from emqlang.grammar.diagnostics import error
from emqlang.quant.integer import operations
from emqlang.quant.integer.dyadic import Term, nearest
from emqlang.quant.integer.edges import INT32, Edge, Want
from emqlang.quant.integer.lowering import Lowered, Lowering, Rule, grid_of
from emqlang.quant.integer.marks import QUANTIZE, ROOT, argument, aten, no_form, shape
from emqlang.quant.networks.layers import Layer
from emqlang.quant.ptq.quantized import QuantizedWeight


def _products(lowering: Lowering, node: Node) -> None:
    """A convolution or a linear layer. Raises E412 where its operands are not quantized."""
    source, name = lowering.source(node, "input"), _layer_name(lowering, node)
    weight = lowering.weights.get(name)
    if weight is None:
        message = f"the weights of layer '{name}' are in floating point"
        raise error("E412", message, "give it bits in the recipe")
    edge = lowering.edges[source]
    if edge.grid is None:
        message = f"the input of layer '{name}' is in floating point"
        raise error("E412", message, "quantize the activations, too: --act-bits 8")
    rows = weight.codes.long().cpu() - weight.grid.zero_point.long().cpu()[:, None]
    terms = list[list[Term]]()
    scales = [Fraction(each) for each in weight.grid.scale.tolist()]
    below, above = (rows.clamp(max=0).sum(1).tolist(), rows.clamp(min=0).sum(1).tolist())
    least, most = min(edge.low, 0), max(edge.high, edge.zero)
    for scale, total, negative, positive in zip(
        scales, rows.sum(1).tolist(), below, above, strict=True
    ):
        low, high = positive * least + negative * most, positive * most + negative * least
        terms.append([Term(scale * edge.step, low, high, total * edge.zero)])
    lowering.note(node, min(t.low for (t,) in terms), max(t.high for (t,) in terms))
    rescales, result, form = lowering.rescaled(node, terms, _bias(lowering, node, len(terms)))
    codes = lowering.layers[name].unrows(rows).int()
    space = codes.ndim - 2
    rescale = operations.Rescale(rescales, form.low, form.high, space)
    operation: nn.Module = operations.Linear(codes, rescale)
    if space:
        settings = {
            name: tuple(each) if isinstance(each, (tuple, list)) else each
            for name in ("stride", "dilation", "groups")
            for each in [argument(node, name)]
        }
        padding = _padding(node, codes.shape[2:])
        operation = operations.Convolution(codes, edge.zero, padding, rescale, **settings)
    lowering.add(node, operation, result, source)


def _layer_name(lowering: Lowering, node: Node) -> str:
    given: str = lowering.names.get(argument(node, "weight").name, "")
    name = given.removeprefix(ROOT).removesuffix(".weight")
    if name not in lowering.layers:
        raise no_form(node, "its weight is not that of a layer")
    return name


def _bias(lowering: Lowering, node: Node, channels: int) -> list[Fraction]:
    bias = argument(node, "bias")
    if bias is None:
        return [Fraction(0)] * channels
    return [Fraction(each) for each in lowering.tensors[lowering.names[bias.name]].tolist()]


def _padding(node: Node, kernel: Sequence[int]) -> list[int]:
    """As F.pad takes it."""
    given, dilation = argument(node, "padding"), argument(node, "dilation")
    space = len(kernel)
    dilations = list(dilation) * (space if len(dilation) == 1 else 1)
    if isinstance(given, str):
        total = [
            d * (k - 1) if given == "same" else 0 for d, k in zip(dilations, kernel, strict=True)
        ]
        pairs = [(each // 2, each - each // 2) for each in total]
    else:
        pairs = [(each, each) for each in list(given) * (space if len(given) == 1 else 1)]
    return [each for pair in reversed(pairs) for each in pair]


def _quantize(lowering: Lowering, node: Node) -> None:
    """A quantizer: nothing where the codes are its own already."""
    source, grid = lowering.source(node, "tensor"), grid_of(node)
    edge = lowering.edges[source]
    if edge.reading(grid):
        lowering.alias(node, source, grid)
        return
    lowering.wants[node] = Want(grid)
    term = Term(edge.step, edge.low, edge.high, edge.zero)
    rescales, result, form = lowering.rescaled(node, [[term]], [Fraction(0)])
    operation = operations.Rescale(rescales, form.low, form.high)
    lowering.add(node, operation, replace(result, grid=grid), source)


def _clamp(low: str | float | None, high: str | float | None) -> Callable[[Lowering, Node], None]:
    """A rule for a clamp between values, or arguments of these names."""

    def lower(lowering: Lowering, node: Node) -> None:
        source = lowering.source(node)
        edge = lowering.edges[source]

        def code(end: str | float | None, otherwise: int) -> int:
            value = argument(node, end) if isinstance(end, str) else end
            if value is None:
                return otherwise
            whole = edge.zero + nearest(Fraction(value) / edge.step)
            return min(max(whole, -(1 << INT32)), (1 << INT32) - 1)

        least, most = code(low, -(1 << INT32)), code(high, (1 << INT32) - 1)
        lowest, highest = (min(max(each, least), most) for each in (edge.low, edge.high))
        operation = operations.Clamp(least, most)
        lowering.add(node, operation, Edge(edge.step, edge.zero, lowest, highest), source)

    return lower


def _sum(lowering: Lowering, node: Node) -> None:
    if argument(node, "alpha") != 1:
        raise no_form(node, "it multiplies one of its operands")
    sources = lowering.source(node), lowering.source(node, "other")
    edges = [lowering.edges[source] for source in sources]
    terms = [Term(edge.step, edge.low, edge.high, edge.zero) for edge in edges]
    (found,), result, form = lowering.rescaled(node, [terms], [Fraction(0)])
    lowering.add(node, operations.Add(found, form.low, form.high), result, *sources)


def _max_pool(lowering: Lowering, node: Node) -> None:
    source = lowering.source(node)
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    settings = {name: argument(node, name) for name in names}
    settings = {
        name: list(v) if isinstance(v, (list, tuple)) else v for name, v in settings.items()
    }
    settings["stride"] = settings["stride"] or settings["kernel_size"]
    edge = replace(lowering.edges[source], grid=None)
    lowering.add(node, operations.MaxPool(**settings), edge, source)


def _space(node: Node) -> list[int] | None:
    """The dimensions that an average is taken over; None if these are not all of space."""
    whole = list(range(2, len(shape(argument(node, "self")))))
    if node.target == aten.mean.dim:
        dims = argument(node, "dim") or []
        return whole if sorted(each % (len(whole) + 2) for each in dims) == whole else None
    sizes = argument(node, "output_size")
    return whole if whole and all(each == 1 for each in sizes) else None


def _average(lowering: Lowering, node: Node) -> None:
    """Global average pooling: 1 / (H * W) is part of the multiplier."""
    source, space = lowering.source(node), _space(node)
    if not space:
        raise no_form(node, "it is no average over all of space")
    edge, count = lowering.edges[source], _count(node)
    term = Term(edge.step / count, edge.low * count, edge.high * count, edge.zero * count)
    lowering.note(node, min(term.low, 0), max(term.high, 0), pooled=True)
    rescales, result, form = lowering.rescaled(node, [[term]], [Fraction(0)])
    keep = len(shape(node)) > 2
    rescale = operations.Rescale(rescales, form.low, form.high)
    lowering.add(node, operations.GlobalAverage(space, keep, rescale), result, source)


def _count(node: Node) -> int:
    """How many values an average is of."""
    count = 1
    for size in shape(argument(node, "self"))[2:]:
        if not isinstance(size, int):
            raise no_form(node, "its size is not fixed")
        count *= size
    return count


def _reshape(lowering: Lowering, node: Node) -> None:
    """Flatten, or what leaves the shape as it is."""
    source = lowering.source(node)
    before, after = shape(source), shape(node)
    if str(before) == str(after):
        lowering.alias(node, source)
        return
    if len(after) != 2 or str(before[0]) != str(after[0]):
        raise no_form(node, "it is another reshape than flatten")
    edge = replace(lowering.edges[source], grid=None)
    lowering.add(node, operations.Flatten(), edge, source)


def _nothing(lowering: Lowering, node: Node) -> None:
    lowering.alias(node, lowering.source(node, node.target._schema.arguments[0].name))  # type: ignore[union-attr]


RULES: Mapping[Any, Rule] = {
    QUANTIZE: Rule(_quantize),
    aten.conv1d.default: Rule(_products),
    aten.conv1d.padding: Rule(_products),
    aten.conv2d.default: Rule(_products),
    aten.conv2d.padding: Rule(_products),
    aten.linear.default: Rule(_products),
    aten.add.Tensor: Rule(_sum),
    aten.relu.default: Rule(_clamp(0.0, None), passes=True),
    aten.relu6.default: Rule(_clamp(0.0, 6.0), passes=True),
    aten.hardtanh.default: Rule(_clamp("min_val", "max_val"), passes=True),
    aten.clamp.default: Rule(_clamp("min", "max"), passes=True),
    aten.clamp_min.default: Rule(_clamp("min", None), passes=True),
    aten.max_pool2d.default: Rule(_max_pool, passes=True),
    aten.adaptive_avg_pool1d.default: Rule(_average, room=_count),
    aten.adaptive_avg_pool2d.default: Rule(_average, room=_count),
    aten.mean.dim: Rule(_average, room=_count),
    aten.flatten.using_ints: Rule(_reshape, passes=True),
    aten.view.default: Rule(_reshape, passes=True),
    aten.reshape.default: Rule(_reshape, passes=True),
    aten._unsafe_view.default: Rule(_reshape, passes=True),
    aten.squeeze.dims: Rule(_reshape, passes=True),
    aten.clone.default: Rule(_nothing, passes=True),
    aten.contiguous.default: Rule(_nothing, passes=True),
    aten.alias.default: Rule(_nothing, passes=True),
    aten.dropout.default: Rule(_nothing, passes=True),
}


def lower(
    program: ExportedProgram, layers: Sequence[Layer], weights: Mapping[str, QuantizedWeight]
) -> Lowered:
    """The integer operations of a program whose quantizers are marks.

    Raises E412 for what has no integer form, by its name; for a layer that is not quantized; for an
    accumulator that may not fit 32 bits.
    """
    with torch.no_grad():
        functional = program.run_decompositions({})
        return Lowering(functional, {layer.name: layer for layer in layers}, weights, RULES).run()
