"""Pages about runs, bits and tables: whole, alone, and the same in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from commands import Emq
from small_table import options

from emqlang.cli import run
from emqlang.grammar.library import LIBRARY
from emqlang.grammar.program import parse
from emqlang.grammar.text.mathml import mathml

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
SMALL = ("--islands", "2", "--population", "16", "--stat-images", "16", "--inputs", "w,qerr,bits")


class Whole(HTMLParser):
    """Refuses elements that are closed in another order than they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in ("meta", "path", "polyline", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("path", "polyline", "rect"):
            assert self.open.pop() == tag


def checked(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    parser = Whole()
    parser.feed(text)
    assert not parser.open
    assert not re.search(r"(src|href)=\"(?!#)", text) and "@import" not in text, "stands alone"
    return text


@pytest.fixture(scope="module")
def run_page(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    searched, page = str(folder / "run"), folder / "page.html"
    words = ["evolve", "--table", str(table), "--out", searched, "--steps", "4", *SMALL]
    assert run(words) == 0
    assert run(["report", searched, "-o", str(page)]) == 0
    return page


def test_a_run(run_page: Path) -> None:
    text = checked(run_page)
    for part in ("The best of each size", "held out", "<math", "polyline", "emq", "regret"):
        assert part in text
    assert "population" in text and "its score is the same" in text


def test_a_run_without_a_step_and_one_that_is_none(emq: Emq, table: Path, tmp_path: Path) -> None:
    begun = tmp_path / "run"
    words = ("--table", str(table), "--out", str(begun), "--evals", "1", *SMALL)
    assert emq("evolve", *words).status == 0
    assert emq("report", str(begun), "-o", str(tmp_path / "a.html")).status == 0
    checked(tmp_path / "a.html")
    for words, said in (
        (("report", str(tmp_path / "none"), "-o", "x.html"), "there is no"),
        (("report", str(begun), "-o", str(tmp_path / "a.html")), "there is a file already"),
        (("report", str(table.parent), "-o", str(tmp_path / "b.html")), "E3"),
    ):
        done = emq(*words)
        assert done.status == 3 and said in done.err and "Traceback" not in done.err


def test_a_run_on_few_rows_is_told_without_ranks(emq: Emq, tmp_path: Path) -> None:
    """Of so few held-out rows nothing can be ranked; the page says all else."""
    few, run, page = (str(tmp_path / name) for name in ("few.table", "run", "page.html"))
    assert emq("bench", "build", "--out", few, *options(tmp_path, 20)).status == 0
    assert emq("evolve", "--table", few, "--out", run, "--steps", "2", *SMALL).status == 0
    done = emq("report", run, "-o", page)
    assert done.status == 0, done.err
    text = checked(Path(page))
    assert "The best of each size" in text and "that the search has not seen" not in text


def test_bits(emq: Emq, tmp_path: Path) -> None:
    recipe, page = tmp_path / "r.json", tmp_path / "r.html"
    done = emq("assign", "synflow", "--avg-bits", "3", "--out", str(recipe))
    assert done.status == 0 and emq("report", str(recipe), "-o", str(page)).status == 0
    text = checked(page)
    assert text.count("<rect") == 21 and "bit operations" in text and "W3" in text
    shares = [float(share) for share in re.findall(r">([0-9.]+)%<", text)]
    assert sum(shares) == pytest.approx(100, abs=2)


def test_a_table(emq: Emq, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of few proxies: those that read no images."""
    names = [name for name in LIBRARY if LIBRARY.shelf(name) == "baselines"]
    monkeypatch.setattr(
        "emqlang.tasks.rank.contenders", lambda programs, table: [LIBRARY[n] for n in names]
    )
    page = tmp_path / "t.html"
    assert emq("report", str(table), "-o", str(page)).status == 0
    text = checked(page)
    assert "additive" in text and all(name in text for name in names)


def test_formulas() -> None:
    found = mathml(parse("-mean(sqrt(total(shift) ** 2 + 1e-7)) / (total(macs) + 1)").expr)
    assert "<msqrt>" in found and "<mfrac>" in found and "<munder>" in found and "−" in found
    for name in LIBRARY:
        parser = Whole()
        parser.feed(mathml(LIBRARY[name].expr))
        assert not parser.open, name


@pytest.mark.skipif(BROWSER is None, reason="there is no chromium")
@pytest.mark.parametrize("width", [480, 1100])
def test_in_a_browser(run_page: Path, width: int, tmp_path: Path) -> None:
    """The script makes every head of a table a button, and nothing is wider than the window."""
    assert BROWSER is not None
    probe = run_page.read_text().replace(
        "</body>",
        "<script>document.querySelector('th button').click();"
        "document.title = document.documentElement.scrollWidth + ' ' +"
        "document.querySelectorAll('th[aria-sort]').length</script></body>",
    )
    (tmp_path / "probe.html").write_text(probe)
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/p"]
    done = subprocess.run(
        [
            BROWSER,
            *flags,
            f"--window-size={width},900",
            "--dump-dom",
            f"file://{tmp_path}/probe.html",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r"<title>(\d+) (\d+)</title>", done.stdout)
    assert found is not None and int(found[1]) <= max(width, 500) and found[2] == "1"
    assert len(re.findall("<button", done.stdout)) == len(re.findall(r"<th[ >]", done.stdout))
