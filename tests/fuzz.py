"""Run the hypothesis properties with fresh seeds, in rounds, until the time is up or one fails.

python tests/fuzz.py --minutes 10 [more options of pytest]
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from random import sample
from time import monotonic
from typing import Any

import pytest

TESTS = Path(__file__).parent
OPTIONS = (
    "--hypothesis-profile=fuzz",
    "--override-ini=console_output_style=classic",
)


class Fuzz:
    """A plugin of pytest that runs properties alone, again and again, and counts their examples."""

    def __init__(self, minutes: float) -> None:
        self.start = monotonic()
        self.end = self.start + 60 * minutes
        self.examples = self.rounds = 0
        self.properties = 0

    def pytest_collection_modifyitems(self, items: list[pytest.Function]) -> None:
        items[:] = [item for item in items if getattr(item.obj, "is_hypothesis_test", False)]
        for test in {item.obj for item in items}:
            test.hypothesis.inner_test = self._counted(test.hypothesis.inner_test)

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.properties = len(session.items)
        while monotonic() < self.end and not session.testsfailed:
            self.rounds += 1
            order = _shuffled(session.items)
            for item, following in zip(order, [*order[1:], None], strict=True):
                if monotonic() < self.end:
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        return True

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        minutes = (monotonic() - self.start) / 60
        terminalreporter.write_line(
            f"{self.examples:,} examples of {self.properties} properties "
            f"in {minutes:.1f} minutes, {self.rounds} rounds"
        )

    def _counted(self, test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def example(*args: Any, **kwargs: Any) -> None:
            test(*args, **kwargs)
            self.examples += 1

        return example


def _shuffled(items: list[pytest.Item]) -> list[pytest.Item]:
    """Whole files in a random order, so that short runs reach them all by turns."""
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.nodeid.split("::")[0], []).append(item)
    return [item for name in sample(list(files), len(files)) for item in files[name]]


def main() -> int:
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    arguments, rest = parser.parse_known_args()
    return pytest.main([str(TESTS), *OPTIONS, *rest], plugins=[Fuzz(arguments.minutes)])


if __name__ == "__main__":
    sys.exit(main())
