"""A layer's weight in an ONNX graph: integers, and the DequantizeLinear that makes it of them.

What reads the weight goes on reading it by its name.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from emqlang.grammar.diagnostics import error
from emqlang.quant.networks.layers import Layer
from emqlang.quant.ptq.packing import pack
from emqlang.quant.ptq.quantized import QuantizedWeight

TYPES = {2: TensorProto.UINT2, 4: TensorProto.UINT4, 8: TensorProto.UINT8}


@dataclass(frozen=True)
class _Form:
    """How the graph holds a weight's integers.

    codes   as the graph's op takes the weight
    axis    that of the output channels
    target  the name of the dequantized tensor
    after   ops that make the weight of it
    """

    codes: Tensor
    axis: int
    target: str
    after: tuple[NodeProto, ...] = ()


def held_in(layer: Layer, bits: int, int2: bool) -> int:
    """Bits of the type that holds a layer's integers of so many: 8, 4, or 2 where that is wanted
    and the runtime loads it, which for matrices it does not."""
    int2 = int2 and layer.type != "Linear"
    return next(width for width in TYPES if width >= bits and (int2 or width > 2))


def hold(
    graph: GraphProto, module: nn.Module, layer: Layer, weight: QuantizedWeight, *, int2: bool
) -> None:
    """Puts integers in the place of a layer's weight. Raises E411 where the graph lacks it."""
    initializer = _initializer(graph, module, layer)
    graph.initializer.remove(initializer)
    name, bits = initializer.name, held_in(layer, weight.grid.bits, int2)
    form = _form(graph, layer, weight.codes, name)
    zero_point = weight.grid.zero_point
    parts = [
        _packed(f"{name}.codes", form.codes, bits),
        numpy_helper.from_array(weight.grid.scale.numpy(), f"{name}.scale"),
        _packed(f"{name}.zero_point", zero_point, bits),
    ]
    graph.initializer.extend(parts)
    names = [part.name for part in parts]
    made = helper.make_node("DequantizeLinear", names, [form.target], axis=form.axis)
    for place, node in enumerate((made, *form.after)):
        graph.node.insert(place, node)


def _packed(name: str, integers: Tensor, bits: int) -> TensorProto:
    data = pack(integers.contiguous(), bits).numpy().tobytes()
    return helper.make_tensor(name, TYPES[bits], list(integers.shape), data, raw=True)


def _initializer(graph: GraphProto, module: nn.Module, layer: Layer) -> TensorProto:
    """The weight, under one of the names that it has in the network."""
    weight = module.get_submodule(layer.name).weight
    parameters = module.named_parameters(remove_duplicate=False)
    names = {name for name, parameter in parameters if parameter is weight}
    for tensor in graph.initializer:
        if tensor.name in names:
            return tensor
    message = f"the graph lacks the weight of layer '{layer.name}' as it is"
    raise error("E411", message, "leave the layer in float: null in the recipe")


def _form(graph: GraphProto, layer: Layer, codes: Tensor, name: str) -> _Form:
    """How a weight (C_out, fan_in) lies in the graph."""
    readers = [node for node in graph.node if name in node.input]
    if layer.type == "Linear" and all(node.op_type == "Transpose" for node in readers):
        return _Form(codes.reshape(layer.shape).T, 1, _without(graph, readers, name))
    if not layer.transposed:
        return _Form(codes.reshape(layer.shape), 0, name)
    if layer.conv_groups == 1:
        return _Form(layer.unrows(codes), 1, name)
    return _grouped(graph, layer, codes, name)


def _without(graph: GraphProto, transposes: list[NodeProto], name: str) -> str:
    """Takes the transposes of a matrix out of the graph; returns the name of its transpose."""
    turned = f"{name}.transposed"
    outputs = {node.output[0] for node in transposes}
    for node in transposes:
        graph.node.remove(node)
    for node in graph.node:
        node.input[:] = [turned if read in outputs else read for read in node.input]
    return turned


def _grouped(graph: GraphProto, layer: Layer, codes: Tensor, name: str) -> _Form:
    """A grouped transposed convolution has no axis of output channels: its rows have one."""
    groups, (inputs, outputs, *kernel) = layer.conv_groups, layer.shape
    steps = [f"{name}.{step}" for step in ("rows", "groups", "inputs_first")]
    shapes = [groups, outputs, inputs // groups, *kernel], list(layer.shape)
    wide, final = (
        numpy_helper.from_array(np.array(shape, np.int64), f"{name}.{part}")
        for shape, part in zip(shapes, ("groups_shape", "shape"), strict=True)
    )
    graph.initializer.extend([wide, final])
    order = [0, 2, 1, *range(3, 3 + len(kernel))]
    after = (
        helper.make_node("Reshape", [steps[0], wide.name], [steps[1]]),
        helper.make_node("Transpose", [steps[1]], [steps[2]], perm=order),
        helper.make_node("Reshape", [steps[2], final.name], [name]),
    )
    rows = codes.reshape(layer.channels_out, inputs // groups, *kernel)
    return _Form(rows, 0, steps[0], after)
