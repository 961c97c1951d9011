"""ONNX with QuantizeLinear and DequantizeLinear on exactly the recipe's edges.

The quantizers are traced with the network, where they sit. Then each weight becomes its integers
and a DequantizeLinear, with a scale and a zero point for every output channel:

    weights of 2 to 4 bits  UINT4, or UINT2 for 2 bits where that is wanted
    weights of 5 to 8 bits  UINT8
    inputs                  UINT8, clipped before they are dequantized if they have fewer bits

The integers are those of the bits, whatever type holds them. All else is float32.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import ModelProto, ValueInfoProto
from onnxscript import optimizer
from torch import Tensor, nn

from emqlang.grammar.diagnostics import error
from emqlang.quant.export.onnx_bias import keep_exact
from emqlang.quant.export.onnx_check import CODES, compare
from emqlang.quant.export.onnx_weights import held_in, hold
from emqlang.quant.export.program import converting, trace
from emqlang.quant.export.subject import Export, Settings, Subject
from emqlang.quant.ptq.grids import ActivationGrid

OPSET, IR_VERSION = 21, 10  # the first with UINT4
INT2_OPSET, INT2_IR_VERSION = 25, 13  # the first with UINT2
TRACED = "network."  # before the names of the network's own parameters


def write(subject: Subject, path: Path, settings: Settings) -> Export:
    """Raises E411 for a network that cannot be converted, E504 where the runtime disagrees."""
    if settings.int2 and not settings.verify:
        message = "--int2 is written only where the runtime loads it, and --no-verify does not ask"
        raise error("E403", message, "leave one of them out")
    model = build(subject, int2=settings.int2)
    data = model.SerializeToString(deterministic=True)
    path.write_bytes(data)
    held = tuple(_held(subject, settings.int2))
    if not settings.verify:
        return Export(held, unverified="--no-verify")
    found = compare(subject, data, settings.images)
    return Export(held, found.lines, figures=found.figures)


def build(subject: Subject, *, int2: bool = False) -> ModelProto:
    """The whole model. Raises E411."""
    network, quantized = subject.network, subject.quantized
    quantizers = {site.name: Quantizer(grid) for site, grid in quantized.inputs}
    program = trace(network, quantized, quantizers)
    with converting(network):
        converted = torch.onnx.export(
            program, dynamo=True, opset_version=OPSET, optimize=False, verbose=False
        )
        assert converted is not None
        model: ModelProto = converted.model_proto
    _rename(model, list(quantizers))
    for layer in network.collection.layers:
        if (weight := quantized.weights.get(layer.name)) is not None:
            hold(model.graph, network.module, layer, weight, int2=int2)
    with converting(network):
        model = optimizer.optimize(model)
        keep_exact(model.graph)
        _finish(model, subject, int2)
        onnx.checker.check_model(model)
    return model


class Quantizer(nn.Module):
    """An activation grid as ops of ONNX."""

    def __init__(self, grid: ActivationGrid) -> None:
        super().__init__()
        self.bits = grid.bits
        self.register_buffer("scale", torch.tensor(grid.scale))
        for name, code in (
            ("zero_point", grid.zero_point),
            ("lowest", 0),
            ("highest", (1 << grid.bits) - 1),
        ):
            self.register_buffer(name, torch.tensor(code, dtype=torch.uint8))

    def forward(self, tensor: Tensor) -> Tensor:
        codes = _op(torch.uint8, "QuantizeLinear", tensor, self.scale, self.zero_point)
        if self.bits < 8:
            codes = _op(torch.uint8, "Clip", codes, self.lowest, self.highest)
        return _op(tensor.dtype, "DequantizeLinear", codes, self.scale, self.zero_point)


def _op(dtype: torch.dtype, name: str, *inputs: Any) -> Tensor:
    """A tensor of the first input's shape."""
    shape = inputs[0].shape
    return torch.onnx.ops.symbolic(name, inputs, dtype=dtype, shape=shape, version=OPSET)


def _rename(model: ModelProto, sites: Sequence[str]) -> None:
    """Parameters have the network's names; what quantizes an input has that of its site."""
    graph, names = model.graph, dict[str, str]()
    for tensor in graph.initializer:
        owner, _, rest = tensor.name.partition(".")
        names[tensor.name] = rest if f"{owner}." == TRACED else tensor.name
        if owner == "quantizers":
            index, _, part = rest.partition(".")
            names[tensor.name] = f"{sites[int(index)]}.input_{part}"
    seen = Counter[str]()
    for node in graph.node:
        scale = names.get(node.input[1], "") if node.op_type == "DequantizeLinear" else ""
        if site := scale.removesuffix(".input_scale"):
            names[node.input[0]] = f"{site}{CODES}{seen[site] or ''}"
            seen[site] += 1
    for kind, values in (("input", graph.input), ("output", graph.output)):
        for index, value in enumerate(values):
            names[value.name] = kind if len(values) == 1 else f"{kind}_{index}"
    for named in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        named.name = names.get(named.name, named.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def _finish(model: ModelProto, subject: Subject, int2: bool) -> None:
    """Versions, and where it comes from; without the paths and lines that converters leave."""
    model.ir_version = INT2_IR_VERSION if int2 else IR_VERSION
    model.producer_name, model.producer_version = "emqlang", ""
    for opset in model.opset_import:
        opset.version = INT2_OPSET if int2 and not opset.domain else opset.version
    graph = model.graph
    _name_dimensions([*graph.input, *graph.output])
    del graph.value_info[:]
    graph.name, model.doc_string = subject.network.name, ""
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
    whose = {"model": subject.network.name, "weights_sha256": subject.network.weights_sha256}
    onnx.helper.set_model_props(model, whose)


def _name_dimensions(values: Sequence[ValueInfoProto]) -> None:
    """The number of rows is called 'batch', and a number is one."""
    rows = values[0].type.tensor_type.shape.dim[0].dim_param
    for value in values:
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param.isdigit():
                dimension.dim_value = int(dimension.dim_param)
            elif rows:
                dimension.dim_param = re.sub(rf"\b{rows}\b", "batch", dimension.dim_param)


def _held(subject: Subject, int2: bool) -> Iterator[str]:
    """How many weights and inputs of which bits lie in which type."""
    weights, held = subject.quantized.weights, Counter[tuple[int, int]]()
    for layer in subject.network.collection.layers:
        if layer.name in weights:
            bits = weights[layer.name].grid.bits
            held[held_in(layer, bits, int2), bits] += 1
    for width in sorted({width for width, _ in held}):
        inside = sorted(bits for type, bits in held if type == width)
        each = ", ".join(f"{held[width, bits]} of {bits} bits" for bits in inside)
        yield f"weights in UINT{width}: {each}"
    inputs = Counter(grid.bits for _, grid in subject.quantized.inputs)
    each = ", ".join(f"{count} of {bits} bits" for bits, count in sorted(inputs.items()))
    if inputs:
        yield f"inputs in UINT8: {each}"
    yield "held in these types; a runtime multiplies in the types that it has kernels for"
