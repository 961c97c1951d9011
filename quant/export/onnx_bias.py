"""Convolutions and linear layers of an ONNX graph, kept from what onnxruntime would round in them.

An op that lies between quantizers it makes one op of, with integers. To that end it rounds a bias
to the step of the sums, which is the input's scale times the weight's and coarse where there are
few bits; it rounds weights that are float to 8 bits; and it does not load weights in UINT2. It lets
the op be where an Add of something else than a constant zero stands behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

OPS = ("Conv", "ConvTranspose", "Gemm")
INPUT, WEIGHT, BIAS = 0, 1, 2  # places among their inputs
EXACT = (TensorProto.UINT4, TensorProto.UINT8)  # weights of which the sums are exact


def keep_exact(graph: GraphProto) -> None:
    """Biases are added by an Add of their own, but for one that is read in another way too. Zeros
    are added where there is no bias, or weights are float, if onnxruntime would round them.

    The graph has the shapes of its values.
    """
    values = (*graph.value_info, *graph.output)
    shapes = {value.name: value.type.tensor_type.shape.dim for value in values}
    constants = {each.name: each for each in graph.initializer}
    dequantized = {
        node.output[0]: constants[node.input[0]].data_type if node.input[0] in constants else 0
        for node in graph.node
        if node.op_type == "DequantizeLinear"
    }
    shared = _read_otherwise(graph, {name: len(shape) for name, shape in shapes.items()})
    nodes = list[NodeProto]()
    for node in graph.node:
        nodes.append(node)
        shape = shapes.get(node.output[0], ())
        if node.op_type not in OPS or len(shape) < 2:
            continue
        weight, bias = node.input[WEIGHT], constants.get(_bias(node))
        if weight not in constants and bias is not None and bias.name not in shared:
            bias.dims[:] = [bias.dims[0], *[1] * (len(shape) - 2)]  # of the output: (N, C, ...)
            del node.input[BIAS]
            nodes.append(_add(node, bias.name))
        elif node.input[INPUT] in dequantized and dequantized.get(weight) not in EXACT:
            nodes.extend(_add_zeros(graph, node))
    del graph.node[:]
    graph.node.extend(nodes)


def _bias(node: NodeProto) -> str:
    """The name of what it adds once to each output channel; '' if there is none."""
    scaled = any(each.name == "beta" and each.f != 1 for each in node.attribute)
    given = node.op_type in OPS and len(node.input) > BIAS and not scaled
    return node.input[BIAS] if given else ""


def _read_otherwise(graph: GraphProto, ranks: dict[str, int]) -> set[str]:
    """Biases that something else reads, or that are added to outputs of several ranks."""
    reads = Counter(name for node in graph.node for name in node.input)
    added = Counter((_bias(node), ranks.get(node.output[0], 0)) for node in graph.node)
    return {name for (name, _), count in added.items() if count != reads[name]}


def _add(node: NodeProto, what: str) -> NodeProto:
    """The Add that has the node's output in its place."""
    (output,) = node.output
    node.output[0] = f"{output}.sums"
    return helper.make_node("Add", [node.output[0], what], [output])


def _add_zeros(graph: GraphProto, node: NodeProto) -> Iterator[NodeProto]:
    """Nodes that add a zero which is no constant."""
    parts = [f"{node.output[0]}.{part}" for part in ("zero_codes", "zero_scale", "zero")]
    codes = numpy_helper.from_array(np.zeros(1, np.uint8), parts[0])
    graph.initializer.extend([codes, numpy_helper.from_array(np.float32(1), parts[1])])
    yield helper.make_node("DequantizeLinear", parts[:2], [parts[2]])
    yield _add(node, parts[2])
