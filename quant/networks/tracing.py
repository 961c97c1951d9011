"""What one forward of a network does: its products with parameters, their costs and their readers.

Traced below autograd with a `TorchDispatchMode`: there every linear, einsum, attention or recurrent
layer, called in whatever way, has become a few of the products in the table below, and every view
of a parameter is an op of its own. (A `TorchFunctionMode` sees a composite such as
`F.multi_head_attention_forward` as one call, and nothing inside it.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from emqlang.quant.networks.batches import Forward, rows, run
from emqlang.quant.networks.hooks import listening
from emqlang.quant.networks.nested import tensors


@dataclass(slots=True, eq=False)
class TensorTrace:
    """What is known of one tensor.

    origins   the parameters it is made of alone; empty for what comes from the network's input or
              from nowhere
    active    whether its values come from the network's input or out of a product
    producer  the layer whose product it is, untouched since
    uses      how many ops read it, and the network's result
    """

    origins: frozenset[str] = frozenset()
    active: bool = False
    producer: str = ""
    uses: int = 0


@dataclass(frozen=True, eq=False)
class Trace:
    """One forward on an example of `rows` images; counts are for the whole example.

    macs       layer -> multiply-accumulates in its own forward; a layer never reached is missing
    outputs    layer -> elements it put out
    products   layer -> number of products with its weight
    uncovered  parameter -> multiply-accumulates outside every layer, counted for the largest
               parameter of each product
    norms      batch norm -> the traces of its inputs, one per call
    weights    layer -> the trace of its weight
    result     what the network returned
    """

    rows: int
    macs: Mapping[str, int]
    outputs: Mapping[str, int]
    products: Mapping[str, int]
    uncovered: Mapping[str, int]
    norms: Mapping[str, Sequence[TensorTrace]]
    weights: Mapping[str, TensorTrace]
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
        uncovered=tracer.uncovered,
        norms=tracer.norms,
        weights={name: tracer.weights[name] for name in tracer.owners.values()},
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


# A rule: an op's arguments and result to its multiplied operands and the multiply-accumulates.
Rule = Callable[[Sequence[Any], Any], tuple[Sequence[Tensor], int]]


def _matrix(left: int, right: int) -> Rule:
    def rule(args: Sequence[Any], out: Tensor) -> tuple[Sequence[Tensor], int]:
        a, b = args[left], args[right]
        return (a, b), a.numel() * (b.shape[-1] if b.ndim > 1 else 1)

    return rule


def _convolution(args: Sequence[Any], out: Tensor) -> tuple[Sequence[Tensor], int]:
    inputs, weight, transposed = args[0], args[1], args[6]
    return (inputs, weight), (inputs if transposed else out).numel() * weight[0].numel()


def _bilinear(args: Sequence[Any], out: Tensor) -> tuple[Sequence[Tensor], int]:
    left, weight, right = args[:3]
    return (left, weight, right), left.numel() // left.shape[-1] * weight.numel()


def _recurrent(args: Sequence[Any], out: Any) -> tuple[Sequence[Tensor], int]:
    inputs, weights = args[0], [tensor for tensor in tensors(args[1:5]) if tensor.ndim == 2]
    steps = inputs.numel() // inputs.shape[-1]
    return (inputs, *weights), steps * sum(weight.numel() for weight in weights)


aten = torch.ops.aten
PRODUCTS: Final[Mapping[Any, Rule]] = {
    aten.convolution: _convolution,
    **dict.fromkeys((aten.mm, aten.bmm, aten.mv, aten.dot, aten.vdot), _matrix(0, 1)),
    **dict.fromkeys((aten.addmm, aten.baddbmm, aten.addbmm, aten.addmv), _matrix(1, 2)),
    aten._trilinear: _bilinear,
    **dict.fromkeys((aten.mkldnn_rnn_layer, aten._cudnn_rnn), _recurrent),
}
# Of ops in any other namespace nothing is known but that they may multiply.
PLAIN_NAMESPACES: Final = ("aten", "prim", "prims")


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A tracer follows every tensor from op to op and counts the products of the table."""

    def __init__(self, model: nn.Module, example: Any, layers: Mapping[str, nn.Module]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.traces: MutableMapping[Tensor, TensorTrace] = WeakTensorKeyDictionary()
        self.sizes: dict[str, int] = {}
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if _carries(tensor):
                self.traces[tensor] = TensorTrace(origins=frozenset({name}))
                self.sizes[name] = tensor.numel()
        for leaf in filter(_carries, tensors(example)):
            self.of(leaf).active = True
        self.weights = {name: self.of(module.weight) for name, module in layers.items()}  # type: ignore[arg-type]
        self.owners: dict[str, str] = {}  # weight -> layer
        for layer, trace in self.weights.items():
            (weight,) = trace.origins
            self.owners.setdefault(weight, layer)
        self.inside: list[str] = []  # weights of the layers whose forward is running
        self.macs: Counter[str] = Counter()
        self.outputs: Counter[str] = Counter()
        self.products: Counter[str] = Counter()
        self.uncovered: Counter[str] = Counter()
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
        rule = PRODUCTS.get(func.overloadpacket)
        if rule is None:
            with self:  # under inference mode composite ops arrive whole
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        operands = [self.of(leaf) for leaf in filter(_carries, tensors((args, kwargs)))]
        result = func(*args, **kwargs)
        for operand in operands:
            operand.uses += 1
        origins = _origins(operands)
        active, producer = any(operand.active for operand in operands), ""
        if rule is not None and origins:
            multiplied, macs = rule(args, result)
            active, producer = True, self.count(_origins(map(self.of, multiplied)), macs)
        elif func.namespace not in PLAIN_NAMESPACES and active:
            self.count(origins, 0)
        # One written in place starts anew: the uses of what it was are kept in the old trace.
        for leaf in tensors(result):
            self.traces[leaf] = TensorTrace(frozenset() if active else origins, active, producer)
        return result

    def count(self, names: frozenset[str], macs: int) -> str:
        """Count a product with these parameters; returns the layer that it is in, or ""."""
        for weight in reversed(self.inside):
            if weight in names:
                layer = self.owners[weight]
                self.macs[layer] += macs
                self.products[layer] += 1
                return layer
        largest = max(names, key=lambda name: (self.sizes[name], name), default="")
        self.uncovered.update({name: macs if name == largest else 0 for name in names})
        return ""

    def enter(self, layer: str, args: Any, kwargs: Any) -> None:
        """The forward of a layer begins."""
        self.inside.extend(self.weights[layer].origins)

    def leave(self, layer: str, output: Any) -> None:
        """It ends; of layers that share a weight, the first is credited."""
        owner = self.owners[self.inside.pop()]
        self.outputs[owner] += sum(leaf.numel() for leaf in tensors(output)[:1])

    def meet(self, norm: str, args: Any, kwargs: Any) -> None:
        """A batch norm is given its input."""
        self.norms.setdefault(norm, []).append(self.of(tensors((args, kwargs))[0]))


def _origins(traces: Iterable[TensorTrace]) -> frozenset[str]:
    return frozenset[str]().union(*(trace.origins for trace in traces))


def _carries(tensor: Tensor) -> bool:
    """Whether it holds values that can be multiplied, not indices or masks."""
    return tensor.is_floating_point() or tensor.is_complex()
