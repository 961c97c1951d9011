"""Where the files that tests read are."""

from __future__ import annotations

from pathlib import Path

SUPPORT = Path(__file__).parent
TESTS = SUPPORT.parent
ROOT = TESTS.parent  # of the checkout
FIXTURES = TESTS / "fixtures"
PROGRAMS = ROOT / "benchmarks" / "programs.emq"  # 1,000 random programs
README = ROOT / "README.md"
