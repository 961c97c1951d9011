"""Who may import whom: design section 2, checked on the installed package's own source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

HEAVY = {"torch", "numpy", "scipy", "sympy", "networkx"}

# Part of the house (longest prefix wins) -> what of ours it may import.
ALLOWED = {
    "emqlang.grammar": {"emqlang.grammar"},
    "emqlang.quant": {
        "emqlang.quant",
        "emqlang.grammar.inputs",
        "emqlang.grammar.signs",
        "emqlang.grammar.diagnostics",
    },
    "emqlang.compiler": {"emqlang.compiler", "emqlang.grammar"},
    "emqlang.scores": {"emqlang.compiler", "emqlang.grammar"},
    "emqlang.ranking": {"emqlang.scores", "emqlang.compiler", "emqlang.grammar"},
    "emqlang.bootstrap": {"emqlang.ranking", "emqlang.grammar"},
    "emqlang.evolve": {
        "emqlang.evolve",
        "emqlang.scores",
        "emqlang.ranking",
        "emqlang.compiler",
        "emqlang.grammar",
    },
    "emqlang": {"emqlang"},
}
PRINTERS = {"emqlang.render"}


def modules() -> Iterator[tuple[str, Path]]:
    for package in ("emqlang", "emqlang.grammar", "emqlang.quant", "emqlang.evolve"):
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            continue  # a room that is not furnished yet
        root = Path(spec.origin).parent
        for path in sorted(root.rglob("*.py")):
            name = ".".join((package, *path.relative_to(root).with_suffix("").parts)).removesuffix(
                ".__init__"
            )
            if package != "emqlang" or name.split(".")[1:2] not in (
                ["grammar"],
                ["quant"],
                ["evolve"],
            ):
                yield name, path


MODULES = dict(modules())


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)


def rule(name: str) -> set[str]:
    return ALLOWED[
        max((part for part in ALLOWED if name == part or name.startswith(part + ".")), key=len)
    ]


@pytest.mark.parametrize("name", MODULES)
def test_imports_stay_inside_the_rules(name: str) -> None:
    ours = {
        m for m in imports(ast.parse(MODULES[name].read_text())) if m.split(".")[0] == "emqlang"
    }
    allowed = rule(name)
    assert not {m for m in ours if not any(m == a or m.startswith(a + ".") for a in allowed)}


@pytest.mark.parametrize("name", [m for m in MODULES if m.startswith("emqlang.grammar")])
def test_the_language_imports_nothing_heavy_when_imported(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text())
    top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    assert not {m.split(".")[0] for n in top for m in imports(n)} & HEAVY


@pytest.mark.parametrize("name", [m for m in MODULES if m not in PRINTERS])
def test_only_render_prints(name: str) -> None:
    calls = (
        n.func for n in ast.walk(ast.parse(MODULES[name].read_text())) if isinstance(n, ast.Call)
    )
    printing = [f for f in calls if isinstance(f, ast.Name) and f.id == "print"]
    assert not printing or name.startswith("emqlang.quant.models.training")


@pytest.mark.parametrize("name", MODULES)
def test_no_file_is_unsafe_or_unfinished(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text())
    called = {ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
    assert not called & {"eval", "exec", "pickle.load", "pickle.loads", "os.system"}
    assert not {m.split(".")[0] for m in imports(tree)} & {"pickle", "shelve", "marshal"}
    assert "NotImplementedError" not in MODULES[name].read_text()
