"""The layout's rules, checked on the source: one test for each rule, which lists every offender."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import networkx as nx
from places import ROOT

from emqlang.cli import SECTIONS

# cli -> views -> experiments, api -> tasks -> evolve -> scores -> compiler, quant -> grammar, store
BELOW = {
    "__init__": ("api", "grammar", "quant"),
    "store": ("grammar.diagnostics",),
    "grammar": (),
    "quant": ("grammar.inputs", "grammar.signs", "grammar.diagnostics", "store"),
    "compiler": ("grammar",),
    "scores": ("compiler", "grammar"),
    "evolve": ("scores", "compiler", "grammar", "store"),
    "tasks": ("evolve", "scores", "compiler", "quant", "grammar", "store"),
    "api": ("views.figures", "views.notebook", "tasks", "scores", "evolve", "quant", "grammar"),
    "experiments": ("tasks", "evolve", "scores", "compiler", "quant", "grammar", "store"),
    "views": ("experiments", "tasks", "evolve", "scores", "compiler", "quant", "grammar", "store"),
    "cli": ("views", "experiments", "tasks", "evolve", "quant", "grammar", "store"),
    "__main__": ("cli",),
}
HEAVY = {"torch", "numpy", "scipy", "sympy", "networkx"}
PRINTERS = {"views.render", "views.ticker", "quant.models.training"}  # the last is its own program
# The files that read pickles: by an Unpickler that refuses what is no value, or makes it inert.
UNPICKLERS = {"quant.tables.exchange", "quant.networks.checkpoints"}
UNSAFE = {"eval", "exec", "pickle.load", "pickle.loads", "os.system"}
LINES, FUNCTION_LINES = 400, 60
# module, or module.function -> why it is longer
SHARED = {
    "tasks": {
        "claims",
        "collected",
        "comparison",
        "domains",
        "edges",
        "fronts",
        "heldout",
        "judge",
        "measured",
        "neighbours",
        "objective",
        "outputs",
        "polish",
        "problem",
        "truth",
        "workbench",
        "workers",
    },
    "views": {
        *("exploration", "figures", "grid", "history", "measured", "notebook", "page", "render"),
        "ticker",
    },
}
# command -> where its work is done, or that it has none
NO_TASK = {
    "repl": "line by line, as eval, rank and assign; tasks/comparison, tasks/neighbours",
    "models": "quant/models",
    "cache": "quant/statistics/cache",
    "front": "evolve/history",
    "top": "evolve/history",
    "lineage": "evolve/history",
    "why": "evolve/history",
    "experiment": "experiments",
    "check": "grammar/library",
    "fmt": "grammar/text/formatter",
    "show": "grammar, compiler/plan",
    "simplify": "grammar/canonical",
    "equiv": "grammar/proof/equivalence",
    "ops": "the tables as they are",
    "explain": "the tables as they are",
    "library": "grammar/library",
    "grammar": "the file as it is",
    "completion": "click's",
}
# command -> where it is shown instead
NO_VIEW = {
    "plot": "views/figures",
    "repl": "views/exploration, and as eval, rank, assign, show and explain",
    "cache": "three fields",
    "front": "views/history",
    "top": "views/history",
    "lineage": "views/history",
    "why": "views/history",
    "check": "diagnostics",
    "fmt": "file names",
    "simplify": "an expression",
    "grammar": "a file",
    "completion": "a script",
}


def _modules() -> Iterator[tuple[str, Path]]:
    """Names below `emqlang.`, and files."""
    rooms = ("grammar", "quant", "evolve")
    for package in ("", *rooms):
        spec = find_spec(f"emqlang.{package}".rstrip("."))
        assert spec is not None and spec.origin is not None
        root = Path(spec.origin).parent
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if package or parts[0] not in rooms:  # an installed package holds the rooms
                yield ".".join(filter(None, (package, *parts))).removesuffix(".__init__"), path


MODULES = dict(_modules())


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imports(node: ast.AST) -> Iterator[str]:
    """Every module that is imported, at the top or in a function; ours without `emqlang.`."""
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            yield from (alias.name for alias in part.names)
        elif isinstance(part, ast.ImportFrom):
            module = str(part.module)
            for alias in part.names:
                name = f"{module}.{alias.name}".removeprefix("emqlang.")
                yield name if name in MODULES else module.removeprefix("emqlang.")


def calls(node: ast.AST) -> set[str]:
    return {ast.unparse(part.func) for part in ast.walk(node) if isinstance(part, ast.Call)}


def part_of(name: str) -> str:
    return name.split(".")[0]


def test_imports_run_down() -> None:
    """A new part has no row, and fails until it has."""
    offenders = [
        f"{name} imports {other}"
        for name in MODULES
        for other in imports(tree(name))
        if other in MODULES and part_of(other) != part_of(name)
        if not any(other == row or other.startswith(f"{row}.") for row in BELOW[part_of(name)])
    ]
    assert not offenders, "\n".join(offenders)


def test_no_circle_of_imports() -> None:
    """Imports for type checkers alone do not count."""
    graph = nx.DiGraph()
    for name in MODULES:
        graph.add_edges_from(
            (name, other)
            for other in imports(_Running().visit(ast.parse(ast.unparse(tree(name)))))
            if other in MODULES and other != name
        )
    circles = [sorted(part) for part in nx.strongly_connected_components(graph) if len(part) > 1]
    assert not circles, "\n".join(map(str, circles))


class _Running(ast.NodeTransformer):
    """Leaves out what is imported under `if TYPE_CHECKING`."""

    def visit_If(self, node: ast.If) -> ast.If | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else node


def test_every_command_has_its_three_files() -> None:
    """`cli/X` reads the words, `tasks/X` does it, `views/X` shows it; two tables except some."""
    commands = {name for section in SECTIONS.values() for name in section}
    for folder, exceptions in (("tasks", NO_TASK), ("views", NO_VIEW)):
        files = {name.split(".")[1] for name in MODULES if name.startswith(f"{folder}.")}
        assert files == commands - exceptions.keys() | SHARED[folder], folder
        assert exceptions.keys() <= commands, folder
    assert {name for name in commands if f"cli.{name}" in MODULES} == commands


def test_the_language_imports_nothing_heavy_when_it_is_imported() -> None:
    offenders = [
        f"{name} imports {other}"
        for name in MODULES
        if part_of(name) == "grammar"
        for statement in tree(name).body
        if isinstance(statement, ast.Import | ast.ImportFrom)
        for other in imports(statement)
        if part_of(other) in HEAVY
    ]
    assert not offenders, "\n".join(offenders)


def test_the_command_line_does_no_arithmetic() -> None:
    offenders = [
        f"{name} imports {other}"
        for name in MODULES
        if part_of(name) == "cli"
        for other in imports(tree(name))
        if part_of(other) in HEAVY
    ]
    assert not offenders, "\n".join(offenders)


def test_only_render_prints() -> None:
    printing = {"print", "click.echo", "sys.stdout.write", "sys.stderr.write"}
    offenders = {name for name in MODULES if calls(tree(name)) & printing} - PRINTERS
    assert not offenders, offenders


def test_no_file_is_unsafe_or_unfinished() -> None:
    offenders = []
    for name in MODULES:
        loaders = {part_of(other) for other in imports(tree(name))} & {
            "pickle",
            "shelve",
            "marshal",
        }
        offenders += [f"{name} calls {call}" for call in calls(tree(name)) & UNSAFE]
        offenders += [f"{name} imports {other}" for other in loaders if name not in UNPICKLERS]
        if "NotImplementedError" in MODULES[name].read_text(encoding="utf-8"):
            offenders.append(f"{name} is unfinished")
    assert not offenders, "\n".join(offenders)


def test_no_file_and_no_function_is_long() -> None:
    lengths = {
        name: (path.read_text(encoding="utf-8").count("\n"), LINES)
        for name, path in MODULES.items()
    }
    for name in MODULES:
        for part in ast.walk(tree(name)):
            if isinstance(part, ast.FunctionDef):
                length = (part.end_lineno or 0) - part.lineno + 1
                lengths[f"{name}.{part.name}"] = (length, FUNCTION_LINES)
    long = {name: length for name, (length, most) in lengths.items() if length > most}
    assert not long, long


def test_every_package_is_installed() -> None:
    """What `pyproject.toml` names is what there is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = set(project["tool"]["setuptools"]["packages"])
    found = set()
    for room in ("emqlang", "grammar", "quant", "evolve"):
        for path in (ROOT / room).rglob("__init__.py"):
            parts = path.parent.relative_to(ROOT).parts
            found.add(".".join(parts if room == "emqlang" else ("emqlang", *parts)))
    assert named == found
