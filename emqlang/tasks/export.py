"""A recipe or a checkpoint to a file that other programs read."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from emqlang.grammar.diagnostics import Diagnostic, error
from emqlang.quant.bits.allocation import Allocation, find_allocation
from emqlang.quant.data.datasets import Dataset
from emqlang.quant.export import Format, find_format, is_checkpoint
from emqlang.quant.export.subject import Export, Settings, Subject
from emqlang.quant.networks.network import Network
from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.quantized import Quantized, load_quantized, read_recipe
from emqlang.quant.ptq.recipe import Procedure, load_recipe
from emqlang.quant.ptq.splits import calibration_images, test_images
from emqlang.store import write_atomically, writing
from emqlang.tasks.claims import believed
from emqlang.tasks.evaluate import completed
from emqlang.tasks.workbench import WorkbenchOptions


@dataclass(frozen=True, eq=False)
class Exported:
    """What was written, and from what.

    network  None for an allocation, which has none
    source   the recipe, the checkpoint or the allocation
    size     bytes of the file, or of a folder's files
    rounded  how a recipe's weights were; '' where a checkpoint has them, or the format has none
    """

    network: Network | None
    source: Path
    format: str
    path: Path
    size: int
    rounded: str
    export: Export
    diagnostics: tuple[Diagnostic, ...]


def export(
    source: Path,
    format: str,
    path: Path,
    options: WorkbenchOptions,
    settings: Settings,
    given: Container[str] = (),
    calib_images: int = 1024,
) -> Exported:
    """Write a recipe, a checkpoint that `quantize` wrote, or an allocation, in a format.

    A recipe's weights are rounded to the nearest value. Nothing is left of a file that fails.
    Raises E301 to E312, E319, E403, E411, E504.
    """
    chosen = find_format(format)
    write = chosen.write
    if (allocation := find_allocation(source)) is not None:
        if not chosen.bits:
            message = f"{format} holds numbers, and {source} has bits without a network"
            raise error("E411", message, "give a recipe or a checkpoint")
        return _allocated(source, allocation, chosen, format, path, settings)
    checkpoint = is_checkpoint(source)
    recipe = read_recipe(source) if checkpoint else load_recipe(source)
    options = completed(options, recipe, given)
    network = options.network()
    recipe, unlike = believed(recipe, network, guarded=checkpoint)
    procedure = Procedure(images=calib_images)

    def make() -> Quantized:
        if checkpoint:
            return load_quantized(source, network)
        data = calibration_images(network, options.data, options.seed, calib_images)
        return quantize(network, recipe, data, procedure)

    def images() -> Dataset:
        labelled = "requantize" in chosen.options  # then accuracies are compared
        return test_images(network, options.data, options.test, options.seed, labelled=labelled)

    subject, written = Subject(network, recipe, make, images), list[Export]()
    with writing(path):
        write_atomically(path, lambda part: written.append(write(subject, part, settings)))
    made = "quantized" in vars(subject)
    rounded = f"to the nearest value, {calib_images:,} images" if made and not checkpoint else ""
    others = subject.quantized.diagnostics if made else ()
    warnings = tuple(dict.fromkeys((*network.warnings, *unlike, *others)))
    return Exported(network, source, format, path, _size(path), rounded, written[0], warnings)


def _allocated(
    source: Path,
    allocation: Allocation,
    chosen: Format,
    format: str,
    path: Path,
    settings: Settings,
) -> Exported:
    """Bits that were chosen by measured scores, in a format that needs no network."""
    written = list[Export]()
    with writing(path):
        write = chosen.write
        write_atomically(path, lambda part: written.append(write(allocation, part, settings)))
    return Exported(None, source, format, path, _size(path), "", written[0], ())


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    return sum(file.stat().st_size for file in files)
