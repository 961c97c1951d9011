"""How many threads work where nobody says."""

from __future__ import annotations

import os
import sys


def default_threads() -> int:
    """As many as torch takes where it is loaded; else what it would be told, or the processors."""
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) else os.cpu_count() or 1
