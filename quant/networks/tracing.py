"""What one forward of a network does: which parameters meet which products, what they cost, and who reads the outputs.

Recorded below autograd with a `TorchDispatchMode`: there every linear, einsum, attention or recurrent layer, called in
whatever way, has become a few of the products in the table below, and every view of a parameter is an op of its own.
(A `TorchFunctionMode` sees a composite such as `F.multi_head_attention_forward` as one call, and nothing inside it.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from emqlang.quant.networks.hooks import listening
from emqlang.quant.user_code import foreign

Forward = Callable[[nn.Module, Any], Any]


@dataclass(slots=True, eq=False)
class Trace:
    """What is known of one tensor.

    origins   the parameters it is made of alone; empty for what comes from the network's input or from nowhere
    active    whether its values come from the network's input or out of a product
    producer  the layer whose product it is, untouched since
    uses      how many ops read it, and the network's result
    """

    origins: frozenset[str] = frozenset()
    active: bool = False
    producer: str = ""
    uses: int = 0


@dataclass(frozen=True, eq=False)
class Record:
    """One forward on an example of `batch` images; counts are for the whole example.

    macs       layer -> multiply-accumulates in its own forward; a layer that is missing was never reached
    outputs    layer -> elements it put out
    products   layer -> number of products with its weight
    uncovered  parameter -> multiply-accumulates outside every layer, counted for the largest parameter of each product
    norms      batch norm -> the traces of its inputs, one a call
    weights    layer -> the trace of its weight
    result     what the network returned
    """

    batch: int
    macs: Mapping[str, int]
    outputs: Mapping[str, int]
    products: Mapping[str, int]
    uncovered: Mapping[str, int]
    norms: Mapping[str, Sequence[Trace]]
    weights: Mapping[str, Trace]
    result: Any


def observe(
    model: nn.Module,
    example: Any,
    layers: Mapping[str, nn.Module],
    norms: Mapping[str, nn.Module],
    forward: Forward,
) -> Record:
    """Run the network once on plain kernels and record it. Of layers that share a weight, the first stands for all.

    Raises E308 where its forward fails.
    """
    recorder = _Recorder(model, example, layers)
    with (
        torch.no_grad(),
        plain_kernels(),
        listening(layers.items(), on_input=recorder.enter, on_output=recorder.leave),
        listening(norms.items(), on_input=recorder.meet),
        recorder,
    ):
        result = run(model, example, forward)
    for leaf in tensors(result):
        recorder.trace(leaf).uses += 1
    return Record(
        batch=batch_of(example),
        macs=recorder.macs,
        outputs=recorder.outputs,
        products=recorder.products,
        uncovered=recorder.uncovered,
        norms=recorder.norms,
        weights={name: recorder.weights[name] for name in recorder.owners.values()},
        result=result,
    )


def run(model: nn.Module, example: Any, forward: Forward) -> Any:
    """What the network returns. Raises E308, naming the example's shape, where its code fails."""
    shapes = " and ".join(str(tuple(leaf.shape)) for leaf in tensors(example)) or "no tensor"
    with foreign("E308", f"the forward of {type(model).__name__} on an input of shape {shapes}"):
        return forward(model, example)


def call(model: nn.Module, example: Any) -> Any:
    """The usual forward: a tuple or list holds positional arguments, a dict named ones."""
    if isinstance(example, dict):
        return model(**example)
    return model(*example) if isinstance(example, (tuple, list)) else model(example)


def tensors(tree: Any) -> list[Tensor]:
    """The tensors in nested tuples, lists and dicts, in order."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def batch_of(example: Any) -> int:
    """Images in an example: the length of its first tensor."""
    return next((leaf.shape[0] for leaf in tensors(example) if leaf.ndim), 1)


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
    return (inputs, *weights), inputs.numel() // inputs.shape[-1] * sum(
        weight.numel() for weight in weights
    )


aten = torch.ops.aten
PRODUCTS: Mapping[Any, Rule] = {
    aten.convolution: _convolution,
    **dict.fromkeys((aten.mm, aten.bmm, aten.mv, aten.dot, aten.vdot), _matrix(0, 1)),
    **dict.fromkeys((aten.addmm, aten.baddbmm, aten.addbmm, aten.addmv), _matrix(1, 2)),
    aten._trilinear: _bilinear,
    **dict.fromkeys((aten.mkldnn_rnn_layer, aten._cudnn_rnn), _recurrent),
}
PLAIN_NAMESPACES = (
    "aten",
    "prim",
    "prims",
)  # of any other op nothing is known but that it may multiply


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows every tensor from op to op and books the products of the table."""

    def __init__(self, model: nn.Module, example: Any, layers: Mapping[str, nn.Module]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.traces = WeakTensorKeyDictionary()
        self.sizes: dict[str, int] = {}
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if _carries(tensor):
                self.traces[tensor] = Trace(origins=frozenset({name}))
                self.sizes[name] = tensor.numel()
        for leaf in filter(_carries, tensors(example)):
            self.trace(leaf).active = True
        self.weights = {name: self.trace(module.weight) for name, module in layers.items()}  # type: ignore[arg-type]
        self.owners: dict[str, str] = {}  # weight -> layer
        for layer, trace in self.weights.items():
            (weight,) = trace.origins
            self.owners.setdefault(weight, layer)
        self.inside: list[str] = []  # weights of the layers whose forward is running
        self.macs: Counter[str] = Counter()
        self.outputs: Counter[str] = Counter()
        self.products: Counter[str] = Counter()
        self.uncovered: Counter[str] = Counter()
        self.norms: dict[str, list[Trace]] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing here is compiled; to be told so, torch would first load its whole compiler, for 3 seconds

    def trace(self, tensor: Tensor) -> Trace:
        """The tensor's trace, made when it is first seen."""
        if tensor not in self.traces:
            self.traces[tensor] = Trace()
        found: Trace = self.traces[tensor]
        return found

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
        operands = [self.trace(leaf) for leaf in filter(_carries, tensors((args, kwargs)))]
        result = func(*args, **kwargs)
        for operand in operands:
            operand.uses += 1
        origins = _origins(operands)
        active, producer = any(operand.active for operand in operands), ""
        if rule is not None and origins:
            multiplied, macs = rule(args, result)
            active, producer = True, self.book(_origins(map(self.trace, multiplied)), macs)
        elif func.namespace not in PLAIN_NAMESPACES and active:
            self.book(origins, 0)
        for leaf in tensors(
            result
        ):  # one written in place starts anew: the uses of what it was are kept in the old trace
            self.traces[leaf] = Trace(frozenset() if active else origins, active, producer)
        return result

    def book(self, names: frozenset[str], macs: int) -> str:
        """Count a product with these parameters; returns the layer whose own it is, or an empty text."""
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
        self.norms.setdefault(norm, []).append(self.trace(tensors((args, kwargs))[0]))


def _origins(traces: Iterable[Trace]) -> frozenset[str]:
    return frozenset[str]().union(*(trace.origins for trace in traces))


def _carries(tensor: Tensor) -> bool:
    """Whether it holds values that can be multiplied, not indices or masks."""
    return tensor.is_floating_point() or tensor.is_complex()
