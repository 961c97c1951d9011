"""A small table that several files search and rank on."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_table import options

from emqlang.cli import run


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 60 rows; `small.py` beside it has the network."""
    folder = tmp_path_factory.mktemp("table")
    assert run(["bench", "build", "--out", str(folder / "own.table"), *options(folder, 60)]) == 0
    return folder / "own.table"
