"""Configurations: bits by layer as other quantizers read them, which find the numbers themselves.

What a quantizer does in silence is refused here: layers of types that it skips, widths that it
rounds or that its kernels lack, names that it does not know.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from emqlang.grammar.diagnostics import error
from emqlang.quant.bits.allocation import Allocation
from emqlang.quant.export import gguf
from emqlang.quant.export.entries import Entry, entries
from emqlang.quant.export.requantized import compared
from emqlang.quant.export.subject import Export, Settings, Subject, check_ignored
from emqlang.quant.ptq.grids import WeightQuantizer

_PLAIN: Final = ("Linear",)
_FLOAT: Final = 16  # bits of a choice that is no integer
_KERNELS: Final = (2, 3, 4, 8)  # bits that AutoRound's and GPTQModel's kernels have


@dataclass(frozen=True)
class Target:
    """What a quantizer can be told.

    widths  bits of weights that it holds
    types   of layers that it quantizes
    sides   of weights that it quantizes are multiples of this
    inputs  whether it quantizes inputs too
    grid    that it rounds to, if it only rounds: then weights differ from a recipe's
    """

    title: str
    text: Callable[[Sequence[Entry], Sequence[Entry]], str]
    widths: tuple[int, ...] = tuple(range(2, 9))
    types: tuple[str, ...] = _PLAIN
    sides: int = 1
    inputs: bool = False
    grid: WeightQuantizer | None = None

    def quantizes(self, entry: Entry) -> bool:
        """Whether a layer's choice is something else than float, which is what it leaves out."""
        return bool(entry.choice) and (entry.bits or 0) < _FLOAT

    def refusal(self, entry: Entry) -> str:
        """Why it cannot hold a layer's choice; '' if it can."""
        if entry.type and entry.type not in self.types:
            return f"{self.title} quantizes {' and '.join(self.types)} alone, not {entry.type}"
        if entry.bits is None:
            return "the choice is no width in whole bits, as 4, or 4g128 in groups"
        if entry.bits not in self.widths:
            return f"{entry.bits} bits: {self.title} has {', '.join(map(str, self.widths))}"
        if any(side % self.sides for side in entry.shape):
            return f"{self.title} skips weights of which a side is no multiple of {self.sides}"
        if entry.group and entry.numel % entry.group:
            return f"groups of {entry.group} do not divide its {entry.numel:,} weights"
        return ""


def write(target: Target, source: Subject | Allocation, path: Path, settings: Settings) -> Export:
    """Raises E411 for what the target does not hold, and for its own grid without --requantize."""
    every = entries(source)
    wanted = [entry for entry in every if target.quantizes(entry)]
    ignored = {entry.name: why for entry in wanted if (why := target.refusal(entry))}
    held = [entry for entry in wanted if entry.name not in ignored]
    check_ignored(target.title, ignored, len(held), settings)
    said, figures = list(_said(target, held)), dict[str, Any]()
    if target.grid is not None and isinstance(source, Subject):
        if not settings.requantize:
            message = f"{target.title} rounds weights to a grid of its own, not to the recipe's"
            help = "--requantize writes the bits alone, and says what that costs"
            raise error("E411", message, help)
        line, figures = compared(source, target.grid, [entry.name for entry in held], target.title)
        said.append(line)
    others = [entry for entry in every if entry not in held]
    path.write_text(target.text(held, others), encoding="utf-8")
    return Export(
        tuple(said),
        unverified=f"{target.title} was not run: the file is its configuration",
        ignored=ignored,
        figures=figures,
    )


def _said(target: Target, held: Sequence[Entry]) -> list[str]:
    counts = Counter(entry.choice for entry in held)
    widths = ", ".join(f"{times} x {choice}" for choice, times in sorted(counts.items()))
    count = f"{len(held)} layer{'s' * (len(held) > 1)}"
    inputs = any(entry.act_bits for entry in held) and not target.inputs
    return [
        f"the bits of {count}: {widths}; {target.title} finds scales itself",
        *(["inputs stay in float: weights alone are quantized"] if inputs else []),
    ]


def _json(record: Any) -> str:
    return json.dumps(record, indent=1) + "\n"


def _torchao(held: Sequence[Entry], others: Sequence[Entry]) -> str:
    """What `torchao.core.config.config_from_dict` reads; then quantize_(..., filter_fn=None)."""

    def enum(kind: str, member: str) -> dict[str, str]:
        return {"_type": kind, "_data": member}

    def granularity(group: int | None) -> dict[str, Any]:
        if group is None:
            return {"_type": "PerAxis", "_version": 1, "_data": {"axis": 0}}
        return {"_type": "PerGroup", "_version": 1, "_data": {"group_size": group}}

    rows = {
        entry.name: {
            "_type": "IntxWeightOnlyConfig",
            "_version": 2,
            "_data": {
                "weight_dtype": enum("torch.dtype", f"int{entry.bits}"),
                "granularity": granularity(entry.group),
                "mapping_type": enum("MappingType", "ASYMMETRIC"),
            },
        }
        for entry in held
    }
    return _json({"_type": "FqnToConfig", "_version": 1, "_data": {"fqn_to_config": rows}})


def _modelopt(held: Sequence[Entry], others: Sequence[Entry]) -> str:
    """What `modelopt.torch.quantization.quantize` takes. Names are whole, and no patterns."""
    rows: list[dict[str, Any]] = [{"quantizer_name": "*", "enable": False}]
    for entry in held:
        weight: dict[str, Any] = {"num_bits": entry.bits, "axis": 0}
        if entry.group is not None:
            weight = {"num_bits": entry.bits, "block_sizes": {"-1": entry.group}}
        rows.append({"quantizer_name": f"{entry.name}.weight_quantizer", "cfg": weight})
        if entry.act_bits is not None:
            inputs = {"num_bits": entry.act_bits, "axis": None}
            rows.append({"quantizer_name": f"{entry.name}.input_quantizer", "cfg": inputs})
    return _json({"quant_cfg": rows, "algorithm": "max"})


def _autoround(held: Sequence[Entry], others: Sequence[Entry]) -> str:
    """The `layer_config` of `AutoRound`; what is not quantized has 16 bits, not the default's."""
    rows: dict[str, dict[str, Any]] = {
        entry.name: {
            "bits": entry.bits,
            "group_size": entry.group or -1,
            "sym": True,
            "data_type": "int",
            "act_bits": 16,
        }
        for entry in held
    }
    rows |= {entry.name: {"bits": 16, "act_bits": 16} for entry in others}
    return _json({"layer_config": rows})


def _gptqmodel(held: Sequence[Entry], others: Sequence[Entry]) -> str:
    """The arguments of `QuantizeConfig`; `-:` leaves a layer in float."""
    most, _ = Counter((entry.bits, entry.group or -1) for entry in held).most_common(1)[0]
    rows: dict[str, dict[str, Any]] = {
        f"+:^{re.escape(entry.name)}$": {"bits": entry.bits, "group_size": entry.group or -1}
        for entry in held
    }
    rows |= {f"-:^{re.escape(entry.name)}$": {} for entry in others}
    return _json({"bits": most[0], "group_size": most[1], "sym": True, "dynamic": rows})


TARGETS: Final = {
    "torchao": Target("torchao", _torchao, grid=WeightQuantizer("minmax")),
    "modelopt": Target(
        "ModelOpt",
        _modelopt,
        types=("Linear", "Conv1d", "Conv2d", "Conv3d"),
        inputs=True,
        grid=WeightQuantizer("minmax", symmetric=True),
    ),
    "autoround": Target("AutoRound", _autoround, _KERNELS, sides=32),
    "gptqmodel": Target("GPTQModel", _gptqmodel, _KERNELS),
}


@dataclass(frozen=True)
class _Gguf(Target):
    """llama.cpp, whose types have names and blocks instead of widths."""

    def quantizes(self, entry: Entry) -> bool:
        return bool(entry.choice)  # F16 is a type as others are

    def refusal(self, entry: Entry) -> str:
        return gguf.refusal(entry)


torchao, modelopt, autoround, gptqmodel = (partial(write, each) for each in TARGETS.values())
llama = partial(write, _Gguf("llama.cpp", lambda held, others: gguf.lines(held)))
