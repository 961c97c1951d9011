"""Modules that hide their linear layers, rewritten into equals that show them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from math import sqrt
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError, error
from emqlang.quant.networks.plain import make_plain
from emqlang.quant.user_code import foreign


class Attention(nn.Module):
    """`nn.MultiheadAttention` with projections `q_proj`, `k_proj`, `v_proj`, `out_proj` as layers.

    Same arguments, same outputs; `query` is (L, N, E), (N, L, E) if `batch_first`, or (L, E).
    """

    # Torch's transformer layers look at these to choose a fused kernel that bypasses the layers.
    in_proj_weight = None
    in_proj_bias = None
    _qkv_same_embed_dim = False

    def __init__(self, original: nn.MultiheadAttention) -> None:
        super().__init__()
        self.embed_dim, self.dropout = original.embed_dim, original.dropout
        self.num_heads, self.head_dim = original.num_heads, original.head_dim
        self.batch_first, self.add_zero_attn = original.batch_first, original.add_zero_attn
        if original.in_proj_weight is not None:
            weights = original.in_proj_weight.detach().chunk(3)
        else:
            separate = (original.q_proj_weight, original.k_proj_weight, original.v_proj_weight)
            weights = tuple(weight.detach() for weight in separate)
        bias = original.in_proj_bias
        biases = (None, None, None) if bias is None else bias.detach().chunk(3)
        self.q_proj, self.k_proj, self.v_proj = map(_linear, weights, biases)
        self.out_proj = _linear(original.out_proj.weight, original.out_proj.bias)
        self.bias_k, self.bias_v = original.bias_k, original.bias_v
        self.train(original.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        if is_causal and attn_mask is None:
            raise RuntimeError("is_causal is a hint about attn_mask, which is missing")
        batched = query.ndim == 3
        q, k, v = self.q_proj(query), self.k_proj(key), self.v_proj(value)
        if not batched:
            q, k, v = (x.unsqueeze(0) for x in (q, k, v))
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            q, k, v = (x.transpose(0, 1) for x in (q, k, v))
        k, v, padded = self._extended(k, v)
        # Where torch takes the hint for the mask.
        hinted = is_causal and key_padding_mask is None and not need_weights
        mask = None if hinted else _merged(attn_mask, key_padding_mask, q, self.num_heads, padded)
        out, weights = self._attend(q, k, v, mask, need_weights, hinted)
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return out.squeeze(0), None if weights is None else weights.squeeze(0)
        return (out if self.batch_first else out.transpose(0, 1)), weights

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, need_weights: bool, causal: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The output (N, L, E), and each head's weights (N, heads, L, S) if they are needed."""
        q, k, v = (
            x.view(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2) for x in (q, k, v)
        )
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            logits = (q / sqrt(self.head_dim)) @ k.mT
            weights = F.dropout((logits if mask is None else logits + mask).softmax(-1), dropout)
            heads = weights @ v
        else:
            heads = F.scaled_dot_product_attention(q, k, v, mask, dropout, causal)
        out: Tensor = self.out_proj(heads.transpose(1, 2).flatten(2))
        return out, weights

    def _extended(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, int]:
        """Keys and values (N, S, E) with learned and zero positions, and how many those are."""
        length = k.shape[1]
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.expand(len(k), 1, -1)], 1)
            v = torch.cat([v, self.bias_v.expand(len(v), 1, -1)], 1)
        if self.add_zero_attn:
            k, v = F.pad(k, (0, 0, 0, 1)), F.pad(v, (0, 0, 0, 1))
        return k, v, k.shape[1] - length


def _merged(
    attention: Tensor | None, padding: Tensor | None, q: Tensor, heads: int, padded: int
) -> Tensor | None:
    """Both masks as one that is added to the logits (N or 1, heads or 1, L or 1, S).

    The padded positions stay open.
    """
    masks = []
    if attention is not None:
        mask = _additive(attention, q.dtype)
        per_head = mask.ndim == 3
        masks.append(mask.view(len(q), heads, *mask.shape[1:]) if per_head else mask[None, None])
    if padding is not None:
        masks.append(_additive(padding, q.dtype)[:, None, None, :])
    return F.pad(sum(masks[1:], start=masks[0]), (0, padded)) if masks else None


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A boolean mask, true where attention is forbidden, as zeros and minus infinities."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, float("-inf"))


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer of its own with these values."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer


def projections(module: nn.Module) -> frozenset[str]:
    """Names of layers that an adapted network has in the place of `nn.MultiheadAttention`."""
    parts = "q_proj", "k_proj", "v_proj", "out_proj"
    return frozenset(
        f"{name}.{part}".lstrip(".")
        for name, each in module.named_modules(remove_duplicate=False)
        if isinstance(each, Attention)
        for part in parts
    )


def bare(module: nn.Module) -> nn.Module:
    """The module that torch.compile and DataParallel wrapped.

    Raises E305 where that is none, E306 for a TorchScript one.
    """
    while _is_wrapper(module):
        module = _unwrapped(module)
    if isinstance(module, torch.jit.ScriptModule):
        message = "a TorchScript module has no layers to change"
        raise error("E306", message, "give the Python module that it was made from")
    return module


def _is_wrapper(module: nn.Module) -> bool:
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return True
    compiled = sys.modules.get("torch._dynamo.eval_frame")  # it takes seconds to import
    return compiled is not None and isinstance(module, compiled.OptimizedModule)


def _unwrapped(module: nn.Module) -> nn.Module:
    inner = getattr(module, "_orig_mod" if hasattr(module, "_orig_mod") else "module")
    if not isinstance(inner, nn.Module):
        message = f"{type(module).__name__} wraps a {type(inner).__name__}, not a torch.nn.Module"
        raise error("E305", message)
    return inner


def _as_linear(module: nn.Module) -> nn.Module:
    """The same linear layer as torch's, with what else the module says of itself."""
    weight, bias = module.weight, module.bias if "bias" in module._parameters else None
    assert isinstance(weight, Tensor) and not isinstance(bias, nn.Module)
    layer = _linear(weight.mT if _turned(module, weight, bias) else weight, bias)
    for name, value in vars(module).items():
        if not name.startswith("_") and not hasattr(layer, name):
            setattr(layer, name, value)
    return layer.train(module.training)


def _attention(module: nn.Module) -> nn.Module:
    assert isinstance(module, nn.MultiheadAttention)
    return Attention(module)


def _without_nesting(module: nn.Module) -> nn.Module:
    """An encoder that does not pack padded sequences for the fused kernel, which is out of use."""
    module.use_nested_tensor = False  # type: ignore[assignment]
    return module


def _is_attention(module: nn.Module) -> bool:
    attention = isinstance(module, nn.MultiheadAttention)
    return attention and type(module).forward is nn.MultiheadAttention.forward


def _is_linear(module: nn.Module) -> bool:
    """Whether a module of one's own is a linear layer whose weight may lie inputs first.

    As transformers' Conv1D: it has a weight, a bias and nothing else, and does what a linear layer
    does, whatever it is called.
    """
    parameters = dict(module.named_parameters(recurse=False))
    weight, bias = parameters.get("weight"), parameters.get("bias")
    hooks = module._forward_pre_hooks or module._forward_hooks
    alone = not (module._modules or module._buffers or hooks)
    if isinstance(module, nn.Linear | torch.jit.ScriptModule) or not alone:
        return False
    if parameters.keys() - {"weight", "bias"}:
        return False
    if weight is None or weight.ndim != 2 or not weight.is_floating_point() or not weight.any():
        return False
    return _turned(module, weight, bias) is not None


def _turned(module: nn.Module, weight: Tensor, bias: Tensor | None) -> bool | None:
    """Whether its weight lies inputs first; None where it is no linear layer."""
    for turned in (True, False):
        usual = weight.mT if turned else weight
        if bias is not None and bias.shape != usual.shape[:1]:
            continue
        if all(_computes(module, probe, usual, bias) for probe in _probes(usual)):
            return turned
    return None


def _probes(weight: Tensor) -> list[Tensor]:
    """Inputs of small and large values, with one and two axes before the last."""
    drawn = torch.randn(2, 3, weight.shape[1], generator=torch.Generator().manual_seed(0))
    drawn = drawn.to(weight.device, weight.dtype)
    return [drawn, drawn[0] * 1000]


def _computes(module: nn.Module, probe: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    try:
        with foreign("E308", "a probe"), torch.no_grad():
            found = module(probe)
            expected = F.linear(probe, weight, bias)
    except EmqError:
        return False
    return (
        isinstance(found, Tensor)
        and (found.shape, found.dtype) == (expected.shape, expected.dtype)
        and torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    )


def _is_encoder(module: nn.Module) -> bool:
    return isinstance(module, nn.TransformerEncoder)


Condition = Callable[[nn.Module], bool]
Adapter = Callable[[nn.Module], nn.Module]
# Whether a module needs it, and what takes its place; applied in this order.
ADAPTERS: Final[tuple[tuple[Condition, Adapter], ...]] = (
    (_is_wrapper, bare),
    (_is_linear, _as_linear),
    (_is_attention, _attention),
    (_is_encoder, _without_nesting),
)


def adapt(model: nn.Module) -> nn.Module:
    """The network with its modules adapted, in place; returned, as the root may be one of them."""
    make_plain(model)
    for needs, adapter in ADAPTERS:
        held = Counter(id(part) for module in model.modules() for part in module.parameters(False))
        replaced = {
            module: adapter(module)
            for module in tuple(model.modules())
            if needs(module)
            and not (adapter is _as_linear and any(held[id(w)] > 1 for w in module.parameters()))
        }
        for parent in tuple(model.modules()):
            for name, child in parent._modules.items():
                if child in replaced:
                    setattr(parent, name, replaced[child])
        model = replaced.get(model, model)
    return model
