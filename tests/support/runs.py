"""Runs of the search, as tests compare them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from emqlang.evolve.ledger import FILE


def rows_of(folder: Path, digests: bool = True) -> list[Any]:
    """Every row that does not tell the time, with or without its digest, the last column."""
    rows = []
    with sqlite3.connect(folder / FILE) as connection:
        for table in ("programs", "steps", "populations", "variants"):
            rows += connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
    return rows if digests else [row[:-1] for row in rows]
