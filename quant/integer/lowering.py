"""From the torch.export program of a quantized network to integer operations.

Each of its operations has a rule, in the table of `rules`. Tensors that reach one quantizer through
nothing but clamps, maxima and reshapes are that quantizer's codes from where they are computed on.
All others (those that are added, averaged or returned) are int32 codes of a fine step: the least
power of two for which every code that can occur lies under 2^30. It follows from the ranges of the
codes before it, so that nothing is calibrated and nothing can overflow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node

from emqlang.grammar.diagnostics import error
from emqlang.quant.integer import operations
from emqlang.quant.integer.dyadic import Dyadic, Term, dyadic
from emqlang.quant.integer.edges import INT32, Edge, Form, Grid, Want, bits
from emqlang.quant.integer.marks import (
    QUANTIZE,
    argument,
    calls,
    check_known,
    module_of,
    name_of,
    no_form,
)
from emqlang.quant.networks.layers import Layer
from emqlang.quant.ptq.quantized import QuantizedWeight


@dataclass(frozen=True)
class Accumulator:
    """A sum of products, or of codes, and the bits that hold it and every partial sum of it."""

    name: str
    bits: int
    pooled: bool = False


@dataclass(frozen=True, eq=False)
class Lowered:
    """Integer operations, and what their codes stand for where floating point is left and met.

    place  which of the program's inputs is read
    """

    graph: operations.Graph
    place: int
    input: Grid
    output: Edge
    accumulators: tuple[Accumulator, ...]


@dataclass(frozen=True)
class Rule:
    """How an operation becomes one of integers.

    passes  whether it commutes with a quantizer's rounding, and keeps step and zero point
    room    how many codes of its operand it adds up
    """

    lower: Callable[[Lowering, Node], None]
    passes: bool = False
    room: Callable[[Node], int] = lambda node: 1


class Lowering:
    """The operations so far, and each tensor of the program that has become codes."""

    def __init__(
        self,
        program: ExportedProgram,
        layers: Mapping[str, Layer],
        weights: Mapping[str, QuantizedWeight],
        rules: Mapping[Any, Rule],
    ) -> None:
        self.program, self.layers, self.weights = program, layers, weights
        self.rules = rules
        self.nodes = list(program.graph.nodes)
        signature = program.graph_signature
        self.names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self.tensors: Mapping[str, Tensor] = program.state_dict
        self.wants: dict[Node, Want] = {}
        self.edges: dict[Node, Edge] = {}
        self.places: dict[Node, int] = {}
        self.operations: list[nn.Module] = []
        self.sources: list[tuple[int, ...]] = []
        self.accumulators: list[Accumulator] = []

    def run(self) -> Lowered:
        """Raises E412."""
        check_known(self.nodes, lambda node: node.target in self.rules)
        for node in reversed(self.nodes):
            ends = [user for user in node.users if user.op == "output"]
            self.wants[node] = Want.all_of(map(self.want, [*calls(node.users), *ends]))
        place, grid = self.open()
        for node in calls(self.nodes):
            self.rules[node.target].lower(self, node)
        (returned,) = self.nodes[-1].args
        outputs = [each for each in returned if isinstance(each, Node)]
        if len(outputs) != 1 or outputs[0] not in self.edges:
            message = f"the network returns {len(outputs)} tensors, and integers are made for one"
            raise error("E412", message, "let its forward return the scores alone")
        graph = operations.Graph(self.operations, self.sources, self.places[outputs[0]])
        return Lowered(graph, place, grid, self.edges[outputs[0]], tuple(self.accumulators))

    def want(self, reader: Node) -> Want:
        """What a reader makes of a tensor that it is given."""
        if reader.target == QUANTIZE:
            return Want(grid_of(reader))
        rule = self.rules.get(reader.target)
        if rule is None or not rule.passes:
            room = rule.room(reader) if rule is not None else 1
            return Want(None, room)
        return self.wants[reader]

    def open(self) -> tuple[int, Grid]:
        """The network's input. Raises E412 where it is not one tensor, quantized at once."""
        given = [each for each in self.nodes if each.op == "placeholder"]
        inputs = [each for each in given if each.name in self.program.graph_signature.user_inputs]
        used = [each for each in inputs if set(calls(each.users))]
        if len(used) != 1:
            message = f"the network reads {len(used)} inputs, and integers are made of one"
            raise error("E412", message, "`evaluate` without --integer takes any number")
        (node,) = used
        grid = self.wants[node].grid
        if grid is None:
            readers = ", ".join(name_of(user) for user in calls(node.users))
            message = (
                f"the network's input is not quantized to one grid before it is read: {readers}"
            )
            raise error("E412", message, "quantize the activations of its first layers")
        self.edges[node] = Edge(grid.step, grid.zero, 0, grid.highest)
        self.places[node] = 0
        return inputs.index(node), grid

    def source(self, node: Node, name: str = "self") -> Node:
        """The operand of this name, which is codes. Raises E412."""
        operand = argument(node, name)
        if not isinstance(operand, Node) or operand not in self.edges:
            raise no_form(node, f"its operand '{name}' is no activation")
        return operand

    def add(self, node: Node, operation: nn.Module, edge: Edge, *sources: Node) -> None:
        """Append an operation whose result the program calls `node`."""
        if max(-edge.low, edge.high + 1) > 1 << INT32:
            raise no_form(node, "its codes may take more than 32 bits")
        self.operations.append(operation)
        self.sources.append(tuple(self.places[each] for each in sources))
        self.places[node], self.edges[node] = len(self.operations), edge

    def alias(self, node: Node, source: Node, grid: Grid | None = None) -> None:
        """What changes nothing; a quantizer that finds its own codes is such, too."""
        self.places[node] = self.places[source]
        self.edges[node] = replace(self.edges[source], grid=grid)

    def note(self, node: Node, low: int, high: int, *, pooled: bool = False) -> None:
        """An accumulator between these, partial sums included. Raises E412 beyond 32 bits."""
        width, name = bits(low, high), module_of(node) or name_of(node)
        if width > INT32 + 1:
            message = f"the accumulator of '{name}' may take {width} bits, and 32 are there"
            raise error("E412", message, "give the layer's weights or inputs fewer bits")
        self.accumulators.append(Accumulator(name, width, pooled))

    def rescaled(
        self, node: Node, terms: Sequence[Sequence[Term]], bias: Sequence[Fraction]
    ) -> tuple[list[Dyadic], Edge, Form]:
        """For each channel, its terms in real values brought to the step of the result."""
        reach = [_reach(row, each) for row, each in zip(terms, bias, strict=True)]
        form = self.wants[node].form(min(low for low, _ in reach), max(high for _, high in reach))
        rescales = list[Dyadic]()
        for row, each in zip(terms, bias, strict=True):
            scaled = [replace(term, slope=term.slope / form.step) for term in row]
            found = dyadic(scaled, each / form.step + form.zero)
            if found is None:
                raise no_form(node, "its scales are too far apart for products of 64 bits")
            rescales.append(found)
        low = min(max(min(each.low for each in rescales), form.low), form.high)
        high = max(min(max(each.high for each in rescales), form.high), form.low)
        return rescales, Edge(form.step, form.zero, low, high), form


def _reach(terms: Sequence[Term], bias: Fraction) -> tuple[Fraction, Fraction]:
    """The least and the largest value."""
    low = sum((term.slope * (term.low - term.centre) for term in terms), bias)
    return low, sum((term.slope * (term.high - term.centre) for term in terms), bias)


def grid_of(node: Node) -> Grid:
    scale, zero, highest = (argument(node, name) for name in ("scale", "zero_point", "highest"))
    return Grid(Fraction(scale), int(zero), int(highest))
