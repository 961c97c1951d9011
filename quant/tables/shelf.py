"""Where tables are: those that come with the package, and files. It imports nothing heavy."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from emqlang.grammar.diagnostics import error, nearest
from emqlang.store import is_file

SUFFIX = ".table"
DEFAULT = "resnet18-fmnist-all"


def shipped() -> dict[str, Path]:
    """The tables that come with the package, by name."""
    folder = Path(str(files("emqlang.quant").joinpath("shipped")))
    return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def find(text: str) -> Path:
    """The file of a shipped table's name, or of a path. Raises E301."""
    known = shipped()
    if text in known:
        return known[text]
    if not is_file(text):
        help = (*nearest(text, known), f"shipped: {', '.join(known)}")
        raise error("E301", f"there is no benchmark table '{text}'", *help)
    return Path(text)
