"""A checkpoint folder of compressed-tensors, `pack-quantized`, whose weights are ours bit for bit.

What the library passes over in silence is refused here: layers other than Linear. Targets are whole
names, each once; weights are asymmetric, one scale for each output channel.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import pad

from emqlang.grammar.diagnostics import error
from emqlang.quant import sealed
from emqlang.quant.export.subject import DIFFERS, Export, Settings, Subject, check_ignored, listed
from emqlang.quant.networks.adapters import projections
from emqlang.quant.ptq.packing import pack
from emqlang.quant.ptq.quantized import MODEL, QuantizedWeight

LIBRARY: Final = "compressed_tensors"
CONFIG: Final = "config.json"
_WORD: Final = 32  # bits
_FUSED: Final = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))  # by vLLM


def write(subject: Subject, path: Path, settings: Settings) -> Export:
    """`config.json` and `model.safetensors`. Raises E411, and E504 if the library reads others."""
    _check_untouched(subject)
    layers = subject.network.collection.layers
    chosen = [each for each in layers if subject.recipe.layers[each.name].weight is not None]
    why = "compressed-tensors quantizes Linear layers alone"
    ignored = {layer.name: why for layer in chosen if layer.type != "Linear"}
    names = [layer.name for layer in chosen if layer.name not in ignored]
    check_ignored("compressed-tensors", ignored, len(names), settings)
    weights = {name: subject.quantized.weights[name] for name in names}
    stored = _tensors(subject, weights)
    path.mkdir()
    (path / CONFIG).write_text(json.dumps(configuration(weights), indent=1) + "\n", "utf-8")
    (path / MODEL).write_bytes(sealed.pack(stored, {"format": "pt"}))
    size = sum(tensor.nbytes for name, tensor in stored.items() if "weight_" in name)
    held = [
        f"{len(names)} layers in {size:,} bytes, scales and zero points with them",
        "inputs stay in float",
        *_unfused(weights),
    ]
    if not settings.verify or find_spec(LIBRARY) is None:
        reason = "compressed-tensors is not installed" if settings.verify else "--no-verify"
        return Export(tuple(held), unverified=reason, ignored=ignored)
    _verify(weights, path / MODEL)
    version = __import__(LIBRARY).__version__
    said = f"compressed-tensors {version} decompresses every weight to ours, bit for bit"
    return Export(tuple(held), (said,), ignored=ignored)


def _check_untouched(subject: Subject) -> None:
    """Raises E411 for a network whose modules are not those that the library would fill."""
    network, reason = subject.network, ""
    if network.folded:
        reason = "batch norms of this are folded"
    elif projections(network.module):
        reason = "nn.MultiheadAttention of this is split into its layers"
    if reason:
        message = f"compressed-tensors fills a network as it is, and {reason}"
        raise error("E411", message, "--to safetensors or onnx holds the network as it is now")


def configuration(weights: Mapping[str, QuantizedWeight]) -> dict[str, Any]:
    """What `config.json` says: one group for each width, its layers by their whole names."""
    widths = sorted({weight.grid.bits for weight in weights.values()})
    groups = {
        f"group_{index}": {
            "targets": [name for name, weight in weights.items() if weight.grid.bits == bits],
            "weights": {
                "num_bits": bits,
                "type": "int",
                "symmetric": False,
                "strategy": "channel",
                "dynamic": False,
            },
            "input_activations": None,
            "output_activations": None,
        }
        for index, bits in enumerate(widths)
    }
    return {
        "quantization_config": {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "quantization_status": "compressed",
            "ignore": [],
            "kv_cache_scheme": None,
            "config_groups": groups,
        }
    }


def packed(codes: Tensor, bits: int) -> Tensor:
    """Codes (rows, columns), each row as words of 32 bits: int32 (rows, ceil(columns * bits / 32)).

    A row is a stream of bits, the lowest of each code and of each word first.
    """
    rows, columns = codes.shape
    stream = pack(pad(codes, (0, -columns % _WORD)), bits).view(torch.int32)
    return stream.reshape(rows, -1)[:, : -(-columns * bits // _WORD)].contiguous()


def _tensors(subject: Subject, weights: Mapping[str, QuantizedWeight]) -> dict[str, Tensor]:
    """Every tensor of the network, in the library's form for weights that are quantized."""
    stored = {
        name: tensor.detach().cpu().clone().contiguous()
        for name, tensor in subject.network.module.state_dict().items()
        if name.removesuffix(".weight") not in weights
    }
    for name, weight in weights.items():
        bits, zeros = weight.grid.bits, weight.grid.zero_point.to(torch.uint8)
        stored |= {
            f"{name}.weight_packed": packed(weight.codes.cpu(), bits),
            f"{name}.weight_scale": weight.grid.scale.cpu()[:, None].contiguous(),
            f"{name}.weight_shape": torch.tensor(weight.codes.shape),
            f"{name}.weight_zero_point": packed(zeros.cpu()[None], bits).T.contiguous(),
        }
    return stored


def _unfused(weights: Mapping[str, QuantizedWeight]) -> Sequence[str]:
    """A line about layers that vLLM makes one of, and that have different widths."""
    groups: dict[tuple[str, tuple[str, ...]], set[int]] = {}
    for name, weight in weights.items():
        parent, _, last = name.rpartition(".")
        for parts in _FUSED:
            if last in parts:
                groups.setdefault((parent, parts), set()).add(weight.grid.bits)
    apart = [parent for (parent, _), widths in groups.items() if len(widths) > 1]
    return [f"vLLM wants one width for layers that it fuses, in {listed(apart)}"] if apart else []


def _verify(weights: Mapping[str, QuantizedWeight], path: Path) -> None:
    """Raises E504 for a weight that the library decompresses to other values."""
    from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

    tensors, _, _ = sealed.read(path)
    for name, weight in weights.items():
        bits = weight.grid.bits
        asked = QuantizationArgs(num_bits=bits, type="int", symmetric=False, strategy="channel")
        scheme = QuantizationScheme(targets=[name], weights=asked)
        parts = {k: tensors[f"{name}.{k}"] for k in ("weight_packed", "weight_scale")}
        parts |= {k: tensors[f"{name}.{k}"] for k in ("weight_shape", "weight_zero_point")}
        found = PackedQuantizationCompressor.decompress(parts, scheme)["weight"]
        if not torch.equal(found, weight.values.cpu().view_as(found)):
            message = f"compressed-tensors reads other weights of layer '{name}'"
            raise error("E504", message, *DIFFERS, path=str(path))
