"""The site of the documents is built without a warning, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from places import ROOT

LOADS = re.compile(
    r"<(?:script|link|img|iframe|source|object|embed)\b[^>]*?(?:src|href|data)=[\"']?(?:https?:)?//[^>]*>"
    r"|url\([\"']?(?:https?:)?//[^)]*\)"
    r"|@import[^;]*//[^;]*;"
)


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("material") is None, reason="mkdocs-material is not installed: `make site` does that"
)
def test_the_site_is_built_strictly_and_is_self_contained(tmp_path: Path) -> None:
    words = ["build", "--strict", "-f", str(ROOT / "mkdocs.yml"), "-d", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mkdocs", *words],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = [*tmp_path.rglob("*.html"), *tmp_path.rglob("*.css")]
    assert len(pages) > 40
    found = {str(page.relative_to(tmp_path)): LOADS.findall(page.read_text()) for page in pages}
    assert not {page: loads for page, loads in found.items() if loads}


def test_what_would_be_loaded_is_seen() -> None:
    assert LOADS.search('<script async src="https://unpkg.com/shim"></script>')
    assert LOADS.search("<link rel=stylesheet href=//fonts.googleapis.com/css>")
    assert LOADS.search("a { background: url('https://x.org/a.png') }")
    assert not LOADS.search('<a href="https://x.org">x</a><img src="figures/a.svg">')


def test_every_page_is_in_the_navigation() -> None:
    """A page that is not ends the build, where mkdocs is installed."""
    listed = set(re.findall(r"[\w/-]+\.md$", (ROOT / "mkdocs.yml").read_text(), re.M))
    docs = ROOT / "docs"
    pages = {path.relative_to(docs) for path in docs.rglob("*.md") if path.parent.name != "tables"}
    made = {"index.md", "contributing.md", "changelog.md"}
    assert listed == {page.as_posix() for page in pages} | made
