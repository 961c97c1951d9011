"""Results as other programs read them: THE table of formats, one row each.

A row's writer is a function in a module of this folder, which is imported when it is used:

    write(subject: Subject, path: Path, settings: Settings) -> Export

where a format that needs no numbers also takes an Allocation for the subject.

It writes `path`, a file that is not there yet; where it raises, nothing is left behind. It verifies
what it has written before it returns, where the settings want that and a runtime is there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from emqlang.grammar.diagnostics import error, nearest
from emqlang.store import is_folder

if TYPE_CHECKING:
    from emqlang.quant.export.subject import Export, Settings

    Writer = Callable[[Any, Path, Settings], Export]


@dataclass(frozen=True)
class Format:
    """One format.

    title     what is written
    writer    module:function in this folder; '' for a format that is not written
    packages  that the writer imports, beside our own dependencies
    extra     of pyproject.toml, which has them
    refusal   why the format is not written, and what to do instead
    options   of Settings that it reads
    bits      whether bits are enough for it: then it takes an allocation, without a network
    """

    title: str
    writer: str = ""
    packages: tuple[str, ...] = ()
    extra: str = ""
    refusal: tuple[str, str] = ("", "")
    options: tuple[str, ...] = ()
    bits: bool = False

    @property
    def write(self) -> Writer:
        """The writer."""
        module, _, function = self.writer.partition(":")
        found: Writer = getattr(import_module(f"{__name__}.{module}"), function)
        return found


_MEASURED = ("requantize", "test")  # options of configurations whose grid is compared with ours


def _configuration(title: str, function: str, *options: str) -> Format:
    writer = f"configurations:{function}"
    return Format(title, writer, options=("partial", *options), bits=True)


FORMATS: Final[Mapping[str, Format]] = {
    "safetensors": Format(
        "packed weights, 2 to 8 bits, with scales, zero points and the recipe",
        "safetensors:write",
        options=("verify",),
    ),
    "json": Format("bits, scales and zero points by layer", "lists:write_json", bits=True),
    "csv": Format(
        "bits, scales and zero points, a row for each channel", "lists:write_csv", bits=True
    ),
    "compressed-tensors": Format(
        "a checkpoint folder of compressed-tensors, pack-quantized",
        "compressed:write",
        options=("partial", "verify"),
    ),
    "torchao": _configuration("torchao: FqnToConfig", "torchao", *_MEASURED),
    "modelopt": _configuration("ModelOpt: quant_cfg", "modelopt", *_MEASURED),
    "autoround": _configuration("AutoRound: layer_config", "autoround"),
    "gptqmodel": _configuration("GPTQModel: QuantizeConfig", "gptqmodel"),
    "gguf": _configuration("llama-quantize: a file of tensor types", "llama"),
    "onnx": Format(
        "a graph with QuantizeLinear and DequantizeLinear on the recipe's edges",
        "onnx:write",
        ("onnx", "onnxscript", "onnxruntime"),
        "onnx",
        options=("verify", "int2", "images", "test"),
    ),
    "torch": Format("a program of torch.export, in float32", "torch:write", options=("verify",)),
    "nncf": Format(
        "not written",
        refusal=(
            "NNCF takes one low width for a whole network, and this recipe has one for each layer",
            "--to onnx writes a file that OpenVINO reads",
        ),
    ),
}


def find_format(name: str) -> Format:
    """A format that can be written here.

    Raises E403 for an unknown one, E411 for one that is not written, E319 for packages that are not
    installed.
    """
    if name not in FORMATS:
        known = f"one of {', '.join(FORMATS)}"
        raise error("E403", f"there is no format '{name}'", *nearest(name, FORMATS), known)
    format = FORMATS[name]
    reason, help = format.refusal
    if reason:
        raise error("E411", f"{name} is not written: {reason}", help)
    if missing := [package for package in format.packages if find_spec(package) is None]:
        needed = f"--to {name} needs {', '.join(missing)}, which are not installed"
        raise error("E319", needed, f"pip install 'emqlang[{format.extra}]'")
    return format


def is_checkpoint(path: Path) -> bool:
    """Whether this is a quantized network, a file or its folder, and not a recipe."""
    return is_folder(path) or path.suffix == ".safetensors"


def is_export(folder: Path) -> bool:
    """Whether a folder is as `--to compressed-tensors` writes it, and holds nothing else."""
    try:
        record = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        names = {place.name for place in folder.iterdir()}
    except (OSError, ValueError, RecursionError):
        return False
    written = isinstance(record, dict) and record.keys() == {"quantization_config"}
    return written and names == {"config.json", "model.safetensors"}
