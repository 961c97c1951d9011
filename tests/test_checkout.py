"""A bare clone works: the dependencies installed, nothing of ours, in the checkout's root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

PACKAGES = ("emqlang", "grammar", "quant", "evolve")
IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(*(module.__file__ for name, module in sys.modules.items() if name.split(".")[0] == "emqlang"))
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout's four folders, in a place of their own."""
    place = tmp_path_factory.mktemp("clone")
    for package in PACKAGES:
        without = shutil.ignore_patterns("__pycache__", "shipped")
        shutil.copytree(ROOT / package, place / package, ignore=without)
    (place / "quant" / "shipped").symlink_to(ROOT / "quant" / "shipped")
    return place


def python(clone: Path, *arguments: str) -> str:
    """What a fresh interpreter in the clone's root prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=clone,
        env=environment | {"XDG_CACHE_HOME": str(clone / "cache")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_every_module_is_the_clones(clone: Path) -> None:
    files = [path for package in PACKAGES for path in (clone / package).rglob("[!_]*.py")]
    names = [".".join(path.relative_to(clone).with_suffix("").parts) for path in files]
    modules = [name if name.startswith("emqlang.") else f"emqlang.{name}" for name in names]
    imported = set(python(clone, "-c", IMPORT, *modules).split())
    assert {str(path) for path in files} <= imported
    assert all(file.startswith(str(clone)) for file in imported)


def test_the_language_alone_is_importable(clone: Path) -> None:
    code = "import emqlang.grammar; print(emqlang.grammar.__file__)"
    assert python(clone, "-c", code).strip() == str(clone / "grammar" / "__init__.py")


@pytest.mark.parametrize("arguments", ["--version", "check log(abs(w))", "models", "bench list"])
def test_commands_that_compute_nothing(clone: Path, arguments: str) -> None:
    python(clone, "-m", "emqlang", *arguments.split())


def test_eval(clone: Path) -> None:
    words = ["eval", "mean(abs(grad))", "--stat-images", "2", "--json"]
    record = json.loads(python(clone, "-m", "emqlang", *words))
    assert record["model"]["weights"] == "embedded" and record["data"]
