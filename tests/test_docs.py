"""The documents and scripts name what exists, and the documents' tables are whole."""

from __future__ import annotations

import ast
import importlib
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import pytest
from commands import Emq
from entered import recording
from places import ROOT

RESULTS = ROOT / "docs" / "results"
CARDS = sorted(ROOT.glob("docs/tables/*.md"))
DOCUMENTS = [
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        "docs/results/*.md",
        "docs/reference/*.md",
        "benchmarks/*.md",
        "studies/*.md",
    )
    for path in sorted(ROOT.glob(pattern))
]
SCRIPTS = sorted(
    path
    for folder in ("benchmarks", "studies", "examples", "docs")
    for path in ROOT.glob(f"{folder}/*.py")
)
FOLDERS = "emqlang|grammar|evolve|quant|tests|docs|benchmarks|studies|examples"
PROXIES = ROOT / "grammar" / "proxies"
EXAMPLES = {"mine.emq", "found.emq", "file.emq"}
MADE = {"studies/raw"}  # by a run


def test_every_row_of_a_table_has_as_many_cells_as_its_header() -> None:
    assert not list(chain.from_iterable(_uneven_rows(path) for path in (*DOCUMENTS, *CARDS)))


def _uneven_rows(path: Path) -> Iterator[str]:
    cells = 0
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.startswith("|"):
            cells = 0
            continue
        count = len(re.findall(r"(?<!\\)\|", re.sub("`[^`]*`", "", line)))
        cells = cells or count
        if count != cells:
            yield f"{path.relative_to(ROOT)}:{number} has {count - 1} cells, not {cells - 1}"


def test_every_path_in_the_documents_exists() -> None:
    """Data cards are left out: they quote the commands that built the tables, as they were."""
    paths = re.compile(rf"(?<![\w/.-])(?:{FOLDERS})/[\w./*-]*[\w*/]")
    missing = [
        f"{document.relative_to(ROOT)}: {path}"
        for document in DOCUMENTS
        for path in paths.findall(document.read_text())
        if path.rstrip("/") not in MADE and not list(ROOT.glob(path.rstrip("/")))
    ]
    assert not missing


def test_the_tour_names_every_file_that_its_command_enters(emq: Emq) -> None:
    tour = (ROOT / "CONTRIBUTING.md").read_text()
    command = next(line for line in tour.splitlines() if line.startswith("    emqlang eval "))
    with recording() as entered:
        assert emq(*shlex.split(command)[1:]).status == 0
    assert len(entered) > 40
    assert not [name for name in sorted(entered) if f"`{_path(name)}`" not in tour]


def _path(module: str) -> Path:
    """The module's file in the checkout."""
    parts = module.split(".")
    rest = parts[1:] if parts[1] in ("grammar", "quant", "evolve") else parts
    package = Path(*rest)
    return package / "__init__.py" if (ROOT / package).is_dir() else package.with_suffix(".py")


def test_every_file_beside_a_document_exists() -> None:
    names = re.compile(r"`([\w-]+\.(?:py|md|csv|emq))`")
    missing = [
        f"{document.relative_to(ROOT)}: {name}"
        for document in DOCUMENTS
        for name in names.findall(document.read_text())
        if name not in EXAMPLES
        if not any((folder / name).exists() for folder in (document.parent, PROXIES))
    ]
    assert not missing


def test_every_link_and_its_anchor_exist() -> None:
    pages = (*DOCUMENTS, *CARDS)
    assert not list(chain.from_iterable(_broken_links(page) for page in pages))


def _broken_links(page: Path) -> Iterator[str]:
    prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.S | re.M)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        path, _, anchor = link.partition("#")
        if re.match(r"\w+:", path):
            continue
        target = page.parent / path if path else page
        if not target.exists():
            yield f"{page.relative_to(ROOT)}: {link}"
        elif anchor and anchor not in _anchors(target):
            yield f"{page.relative_to(ROOT)}: no heading {link}"


def _anchors(page: Path) -> set[str]:
    """Headings as GitHub names them: lower case, no punctuation, a hyphen for every space."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    headings = re.findall(r"^#+ +(.+?) *$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in headings}


def test_the_page_on_scores_across_layers_prints_what_it_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "cross_layer.md").read_text()
    ((code, printed),) = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", page, re.S)
    example = tmp_path / "example.py"
    example.write_text(code)
    runpy.run_path(str(example))
    assert capsys.readouterr().out == printed


def test_every_module_in_the_documents_exists() -> None:
    packages = "grammar|quant|evolve|cli|views|experiments|tasks|scores|compiler|store|api"
    modules = re.compile(rf"emqlang\.(?:{packages})(?:\.[a-z_]+)*(?!/)\b")
    named = {name for path in DOCUMENTS for name in modules.findall(path.read_text())}
    assert not [name for name in sorted(named) if not _exists(name)]


def _exists(name: str) -> bool:
    """A module, or a name in one."""
    module, _, last = name.rpartition(".")
    try:
        return hasattr(importlib.import_module(module), last) or bool(find_spec(name))
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_a_script_imports_of_the_package_is_there(script: Path) -> None:
    imports = [
        node
        for node in ast.walk(ast.parse(script.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("emqlang")
    ]
    missing = [
        f"{node.module}.{alias.name}"
        for node in imports
        for alias in node.names
        if not _exists(f"{node.module}.{alias.name}")
    ]
    assert not missing


@pytest.mark.parametrize(
    ("command", "page"),
    [
        ("truth.py", "evolved-proxies"),
        ("ptq_tables.py", "beside-brevitas"),
        ("winner_bits.py --table", "bits-of-evolved-proxies"),
        ("bits.py --table", "which-bits-are-best"),
        ("across_layers.py", "which-proxy-ranks-best"),
        ("across_families.py", "does-a-search-transfer"),
        ("qat_tables.py", "training-quantized"),
    ],
)
def test_the_page_has_the_tables_that_a_study_prints(
    command: str, page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    studies = ROOT / "studies"
    monkeypatch.syspath_prepend(studies)
    monkeypatch.setattr(sys, "argv", command.split())
    runpy.run_path(str(studies / sys.argv[0]), run_name="__main__")
    shown = (RESULTS / f"{page}.md").read_text().splitlines()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 20
    assert not [line for line in lines if line not in shown]


def test_the_index_of_results_has_every_page_with_its_question() -> None:
    index = (ROOT / "docs" / "results.md").read_text()
    questions = {path: path.read_text().splitlines()[0] for path in RESULTS.glob("*.md")}
    assert len(questions) > 10
    assert not [
        path.name
        for path, question in questions.items()
        if f"[{question.removeprefix('# ')}](results/{path.name})" not in index
    ]


def test_every_data_card_is_linked() -> None:
    page = (ROOT / "docs" / "tables.md").read_text()
    assert not [card.name for card in CARDS if f"(tables/{card.name})" not in page]


def test_no_page_of_the_reference_is_stale() -> None:
    """Those that are have to be written anew: `make docs`."""
    pages = runpy.run_path(str(ROOT / "docs" / "generate.py"))["PAGES"]
    folder = ROOT / "docs" / "reference"
    assert sorted(path.name for path in folder.iterdir()) == sorted(pages)
    assert not [name for name, page in pages.items() if page() != (folder / name).read_text()]
