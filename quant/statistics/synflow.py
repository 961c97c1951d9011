"""`grad_synflow`: the gradient of R = sum of logits on the linearised network of absolute weights.

Data-free: the network is copied in float64 and shown one input of ones. In the copy
    weights are |w|, and biases and running means are 0
    a batch norm that stays multiplies by |gamma| / sqrt(var + eps)
    activation functions are the identity, and so are clamps and dropout
    sigmoids, which are gates that multiply other values, are the identity scaled to a peak of 1:
        with R a power of the input, deep gated networks would overflow
    layer, group and instance norms, and batch norms without running statistics, which would take
        out what R is made of, multiply by |gamma|; norms that have none are the identity
    a softmax divides by the sum instead of the sum of exponentials, with which attention would be
        all or nothing
so that for a chain without gates and softmax the sums of weight times gradient are equal for all
layers. What is returned is the gradient's absolute value: behind a softmax, and in a layer that
rescales its own weights, it has a sign.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from emqlang.quant.networks.answers import logits_of
from emqlang.quant.networks.batches import run, slice_rows
from emqlang.quant.networks.nested import mapped
from emqlang.quant.networks.tracing import plain_kernels
from emqlang.quant.statistics.image_pass import HasGradient, filled, gradients
from emqlang.quant.statistics.subject import Subject
from emqlang.quant.statistics.table import Measured

ZEROED: Final = ("bias", "running_mean")  # names of what is added or subtracted end in these

# Functions by name; those that work in place, which end in an underscore, are found without it.
IDENTITIES: Final = """
    relu relu6 hardtanh hardswish gelu silu mish tanh leaky_relu prelu rrelu elu selu celu softplus
    softsign log_sigmoid log_softmax special_log_softmax _threshold threshold tanhshrink hardshrink
    softshrink clamp clip clamp_min clamp_max dropout dropout1d dropout2d dropout3d alpha_dropout
    feature_dropout feature_alpha_dropout normalize local_response_norm
""".split()  # noqa: SIM905
GATES: Final = ("sigmoid", "hardsigmoid")
SOFTMAXES: Final = ("softmax", "special_softmax", "softmin")


def measure(subject: Subject, names: frozenset[str]) -> dict[str, Measured]:
    module = linearised(subject.module)
    parts = dict(module.named_modules())
    weights: list[Any] = [parts[layer.name].weight for layer in subject.layers]
    ones = mapped(_ones(subject.device), slice_rows(subject.network.example, 0, 1))
    with torch.enable_grad(), plain_kernels(), Linearise():
        total = logits_of(run(module, ones, subject.network.forward)).sum()
    subject.progress("grad_synflow", 1, 1)
    graph = HasGradient()
    graph.note(total, total)
    graph.check()
    grads = gradients(total, weights)
    reason = "no gradient of R reaches it"
    missing = [index for index, grad in enumerate(grads) if grad is None or not grad.any()]
    values = subject.flat(filled(grads, weights)).abs()
    return {"grad_synflow": Measured(values, unmeasured=dict.fromkeys(missing, reason))}


@torch.no_grad()
def linearised(module: nn.Module) -> nn.Module:
    """A copy in float64 of absolute weights, without biases and running means."""
    copy = deepcopy(module).eval().double()
    for name, tensor in (*copy.named_parameters(), *copy.named_buffers()):
        if name.endswith(ZEROED):
            tensor.zero_()
        elif tensor.is_floating_point():
            tensor.abs_()
    return copy


def _ones(device: torch.device) -> Callable[[Tensor], Tensor]:
    """Ones in place of floating-point values; others, such as indices, stay."""

    def one(leaf: Tensor) -> Tensor:
        if not leaf.is_floating_point():
            return leaf.to(device)
        return torch.ones_like(leaf, dtype=torch.float64, device=device)

    return one


class Linearise(TorchFunctionMode):
    """A mode in which the functions of the tables are replaced by their linear stand-ins, and what
    the network's own code brings to another precision stays in float64."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "").removesuffix("_")
        named = {key: _precise(value) for key, value in (kwargs or {}).items()}
        return STAND_INS.get(name, func)(*map(_precise, args), **named)


def _precise(argument: Any) -> Any:
    """float64 for any floating-point type that the network's own code asks for."""
    lossy = isinstance(argument, torch.dtype) and argument.is_floating_point
    return torch.float64 if lossy else argument


def _identity(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    return input


def _gate(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    peak = input.detach().abs().amax()
    return input / torch.where(peak > 0, peak, 1.0)


def _glu(input: Tensor, dim: int = -1) -> Tensor:
    values, gate = input.chunk(2, dim)
    return values * _gate(gate)


def _scaled(input: Tensor, weight: Tensor | None, axis: int) -> Tensor:
    """Times a norm's own weight, if it has one, along the axes that start at `axis`."""
    if weight is None:
        return input
    trailing = input.ndim - axis - weight.ndim if axis > 0 else 0
    return input * weight.reshape(*weight.shape, *[1] * trailing)


def _batch_norm(
    input: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As it is, unless it would take its statistics from the input."""
    if training or var is None:
        return _scaled(input, weight, 1)
    return F.batch_norm(input, mean, var, weight, bias, False, momentum, eps)


def _layer_norm(
    input: Tensor, normalized_shape: Any, weight: Tensor | None = None, *args: Any, **kwargs: Any
) -> Tensor:
    return _scaled(input, weight, -1)


def _group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, *args: Any, **kwargs: Any
) -> Tensor:
    return _scaled(input, weight, 1)


def _instance_norm(
    input: Tensor,
    mean: Any = None,
    var: Any = None,
    weight: Tensor | None = None,
    *args: Any,
    **kwargs: Any,
) -> Tensor:
    return _scaled(input, weight, 1)


def _softmax(input: Tensor, dim: int | None = None, *args: Any, **kwargs: Any) -> Tensor:
    """Shares of the sum; positions that a mask closes have none."""
    seen = input.masked_fill(input == -torch.inf, 0.0)
    total = seen.sum(-1 if dim is None else dim, keepdim=True)
    return seen / torch.where(total != 0, total, 1.0)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if enable_gqa:
        key, value = (x.repeat_interleave(query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return _softmax(scores, -1) @ value


STAND_INS: Final[Mapping[str, Callable[..., Any]]] = {
    **dict.fromkeys(IDENTITIES, _identity),
    **dict.fromkeys(GATES, _gate),
    **dict.fromkeys(("float", "half", "bfloat16"), lambda input, **kwargs: input.double()),
    "glu": _glu,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "rms_norm": _layer_norm,
    **dict.fromkeys(SOFTMAXES, _softmax),
    "scaled_dot_product_attention": _attention,
}
