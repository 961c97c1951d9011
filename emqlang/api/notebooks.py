"""Results as notebooks show them, where one runs: elsewhere it would cost imports for nothing."""

from __future__ import annotations

import sys


def attach() -> None:
    """Gives results the methods that notebooks ask for."""
    if "IPython" in sys.modules:
        from emqlang.views import notebook

        notebook.attach()
