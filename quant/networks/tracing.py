"""What one forward of a network does: its products with parameters, their costs and their readers.

Traced below autograd with a `TorchDispatchMode`: there every linear, einsum, attention or recurrent
layer, called in whatever way, has become a few of the products of `products.py`, and every view
of a parameter is an op of its own. (A `TorchFunctionMode` sees a composite such as
`F.multi_head_attention_forward` as one call, and nothing inside it.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from emqlang.quant.networks.batches import rows, run
from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.nested import tensors
from emqlang.quant.networks.origins import (
    Operand,
    TensorTrace,
    carries,
    derived,
    moved,
    rows_of,
    union,
    weights_of,
)
from emqlang.quant.networks.products import PICKS, PLAIN_NAMESPACES, PRODUCTS, TABLES
from emqlang.quant.networks.signature import Forward


@dataclass(frozen=True, eq=False)
class Trace:
    """One forward on an example of `rows` images; counts are for the whole example.

    macs       layer -> multiply-accumulates in its own forward; a layer never reached is missing
    outputs    layer -> elements it put out
    products   layer -> number of products with its weight
    outside    layer -> multiply-accumulates with its weight outside its own forward
    uncovered  parameter -> multiply-accumulates with what is no layer's weight, counted for the
               largest parameter of each product; of a layer's weight, with what was made of it
    tables     parameters of which the network's input, or an embedding, picks rows
    norms      batch norm -> the traces of its inputs, one per call
    weights    layer -> the trace of its weight
    owners     weight -> its layer, the first of those that share it
    result     what the network returned
    """

    rows: int
    macs: Mapping[str, int]
    outputs: Mapping[str, int]
    products: Mapping[str, int]
    outside: Mapping[str, int]
    uncovered: Mapping[str, int]
    tables: frozenset[str]
    norms: Mapping[str, Sequence[TensorTrace]]
    weights: Mapping[str, TensorTrace]
    owners: Mapping[str, str]
    result: Any


def trace(
    model: nn.Module,
    example: Any,
    layers: Mapping[str, nn.Module],
    norms: Mapping[str, nn.Module],
    forward: Forward,
) -> Trace:
    """Run the network once on plain kernels and trace it. Raises E308 where its forward fails.

    Of layers that share a weight, the first stands for all.
    """
    tracer = _Tracer(model, example, layers)
    with (
        torch.no_grad(),
        plain_kernels(),
        listening(layers.items(), on_input=tracer.enter, on_output=tracer.leave),
        listening(norms.items(), on_input=tracer.meet),
        _Kernels(tracer),
        tracer,
    ):
        result = run(model, example, forward)
    for leaf in tensors(result):
        tracer.of(leaf).uses += 1
    return Trace(
        rows=rows(example),
        macs=tracer.macs,
        outputs=tracer.outputs,
        products=tracer.products,
        outside=tracer.outside,
        uncovered=tracer.uncovered,
        tables=frozenset(tracer.tables),
        norms=tracer.norms,
        weights={name: tracer.weights[name] for name in tracer.owners.values()},
        owners=tracer.owners,
        result=result,
    )


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Fused attention kernels off: they would hide the products inside."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A tracer follows every tensor from op to op and counts the products of the table."""

    def __init__(self, model: nn.Module, example: Any, layers: Mapping[str, nn.Module]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.traces: MutableMapping[Tensor, TensorTrace] = WeakTensorKeyDictionary()
        self.sizes: dict[str, int] = {}
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            self.traces[tensor] = TensorTrace(origins=frozenset({name}))
            self.sizes[name] = tensor.numel()
        for leaf in tensors(example):
            self.of(leaf).active = True
        self.weights = {name: self.of(module.weight) for name, module in layers.items()}  # type: ignore[arg-type]
        self.owners: dict[str, str] = {}  # weight -> layer
        for layer, trace in self.weights.items():
            (trace.grid,) = trace.origins
            self.owners.setdefault(trace.grid, layer)
        self.inside: list[str] = []  # weights of the layers whose forward is running
        self.macs: Counter[str] = Counter()
        self.outputs: Counter[str] = Counter()
        self.products: Counter[str] = Counter()
        self.outside: Counter[str] = Counter()
        self.uncovered: Counter[str] = Counter()
        self.tables: set[str] = set()
        self.norms: dict[str, list[TensorTrace]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing here is compiled; to find that out, torch would load its whole compiler (3 s)."""
        return False

    def of(self, tensor: Tensor) -> TensorTrace:
        """The tensor's trace, made when it is first seen."""
        return self.traces.setdefault(tensor, TensorTrace())

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        packet = func.overloadpacket
        rule = PRODUCTS.get(packet)
        if rule is None:
            with self:  # under inference mode composite ops arrive whole
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        operands = [(leaf, self.of(leaf)) for leaf in tensors((args, kwargs))]
        result = func(*args, **kwargs)
        for _, operand in operands:
            operand.uses += 1
        picked = packet in PICKS and any(trace.active for _, trace in operands[1:])
        if (picked or packet in TABLES) and self.of(args[0]).pure:
            self.tables |= self.of(args[0]).origins
        found, positions = None, list[Tensor | None]()
        if rule is not None:
            multiplied, macs = rule(args, result)
            pairs = [(leaf, self.of(leaf)) for leaf in multiplied]
            found = self.product(packet, pairs, macs)
            positions = [rows_of(result, packet, pairs)] if found and len(pairs) == 2 else []
        elif func.namespace not in PLAIN_NAMESPACES:
            found = self.product(packet, [pair for pair in operands if carries(pair[0])], 0)
        if found is None:
            found = derived(packet, operands)
            positions = moved(packet, args, kwargs, operands, tensors(result))
        # One written in place starts anew: the uses of what it was are kept in the old trace.
        leaves = tensors(result)
        for leaf, places in zip_longest(leaves, positions[: len(leaves)]):
            self.traces[leaf] = replace(found, positions=places)
        return result

    def product(self, packet: Any, operands: Sequence[Operand], macs: int) -> TensorTrace | None:
        """Count a product; the trace of its result, or None where no operand is a weight.

        What is multiplied of parameters alone is a parameter, unless a layer is given one as input.
        """
        weights = weights_of(packet, operands)
        origins = union(trace.origins for trace in weights)
        names = origins or union(trace.sources for trace in weights)
        if not names:
            return None
        grids = {trace.grid for trace in weights}
        inside = next((weight for weight in reversed(self.inside) if weight in grids), "")
        layer = self.owners.get(inside, "")
        pure = all(trace.pure for _, trace in operands)
        if pure and (not inside or len(weights) == len(operands)):
            return TensorTrace(origins=union(trace.origins for _, trace in operands))
        if inside:
            self.macs[layer] += macs
            self.products[layer] += 1
        elif len(weights) == 1 and weights[0].grid:
            self.outside[self.owners[weights[0].grid]] += macs
        else:
            self.uncovered.update(self.counted(names, macs, alone=not origins))
        return TensorTrace(active=True, sources=names, producer=layer)

    def counted(self, names: frozenset[str], macs: int, *, alone: bool) -> dict[str, int]:
        """The multiply-accumulates of a product outside the layers, laid at its largest parameter.

        The others get none, or are left out: `alone` is that of a weight that a product made.
        """
        rest = names - self.owners.keys() if alone else names
        largest = max(rest or names, key=lambda name: (self.sizes[name], name))
        return {largest: macs} | ({} if alone else dict.fromkeys(names - {largest}, 0))

    def enter(self, layer: str, args: Any, kwargs: Any) -> None:
        """The forward of a layer begins."""
        self.inside.append(self.weights[layer].grid)

    def leave(self, layer: str, output: Any) -> None:
        """It ends; of layers that share a weight, the first is credited."""
        owner = self.owners[self.inside.pop()]
        self.outputs[owner] += sum(leaf.numel() for leaf in tensors(output)[:1])

    def meet(self, norm: str, args: Any, kwargs: Any) -> None:
        """A batch norm is given its input."""
        self.norms.setdefault(norm, []).append(self.of(tensors((args, kwargs))[0]))


class _Kernels(TorchFunctionMode):
    """While it lasts, a tracer is told which operand of a linear function is its weight."""

    def __init__(self, tracer: _Tracer) -> None:
        super().__init__()
        self.tracer = tracer

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is F.linear:
            named = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
            if named["weight"].layout == torch.strided:
                weight = named["weight"].view_as(named["weight"])
                self.tracer.of(weight).kernel = True
                return func(named["input"], weight, named.get("bias"))
        return func(*args, **kwargs)
