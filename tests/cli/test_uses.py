"""What is given is used or refused: every option of every command has its place in a table."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import shlex
import sys
import textwrap
from dataclasses import fields
from pathlib import Path

import click
import pytest
from command_line import COMMANDS, command_of
from commands import Emq
from own_network import own

from emqlang.cli import uses
from emqlang.grammar.diagnostics import EmqError
from emqlang.tasks.workbench import WorkbenchOptions

__all__ = ["own"]  # a fixture

EVERYWHERE = {"force", "no_color", "quiet", "verbose", "debug", "help", "as_json", "as_csv"}
NETWORK = {"model", "weights", "data", "input", "forward", "seed"}
MENU = {"bits", "menu"}
TABLE = {"name", "partial"}
# command -> what it uses whenever it is given; statistics' options are refused by `READ_BY`
USED = {
    "eval": {"config", "proxies", "device", "tied", "cache", *NETWORK, *MENU} - {"data"},
    "repl": {"table", "device", "tied", "cache", *NETWORK, *MENU, *uses.READ_BY},
    "models": set(),
    "cache": set(),
    "assign": {
        "scores",
        "sweep",
        *uses.LIMITS.split(),
        "fix",
        "accounting",
        *NETWORK,
    },  # data: READ_BY too
    "quantize": {
        *("recipe_path", "config", "rounding", "range", "calib_images", "bias_correction"),
        *("check", "test", "metric", "out", *NETWORK),
    },
    "qat": {
        *("preset", "epochs", "rate", "batch", "distill", "bn", "train_images", "test", "metric"),
        *("device", "out", *NETWORK),
    },
    "evaluate": {"test", "metric", "integer", *NETWORK},
    "export": {"format", "out", *NETWORK},
    "evolve": {"resume", "evals", "steps", "seconds", "workers"},
    "front": {"emq"},
    "top": {"where", "count", "emq"},
    "lineage": set(),
    "why": set(),
    "bench build": {
        *("out", "rows", "sample", "menu", "fix", "rounding", "range", "calib_images", "test"),
        *("workers", *NETWORK),
    },
    "bench rerun": {"name", "rows", "seed", "data", "calib_images", "workers"},
    "bench import": {"out", *NETWORK},
    "bench list": set(),
    "bench show": {"rows", *TABLE},
    "bench info": TABLE,
    "bench validate": {"network"},
    "bench card": {"out"},
    "bench export": {"out", *TABLE},
    "rank": {
        *("proxies", "tables", "split", "by", "topk_by", "stratify", "protocol", "seed", "plot"),
        *("device", "tied", "cache"),
    },
    "experiment": set(),
    "check": set(),
    "fmt": {"check"},
    "show": {"stage"},
    "simplify": {"trace", "latex", "with_sympy"},
    "equiv": {"seconds"},
    "library": set(),
    "plot scores": {"out", "device", "tied", "cache", *NETWORK, *MENU, *uses.READ_BY},
    "plot matrix": {"out", "device", "tied", "cache", *NETWORK, *MENU, *uses.READ_BY},
    "plot scatter": {"table", "by", "out"},
    "plot pareto": {"words", "out"},
    "plot curves": {"runs", "out"},
    "plot funnel": {"run", "out"},
    "plot graph": {"canonical", "out"},
    "plot bits": {"recipes", "out"},
    "report": {"source", "out"},
    "ops": {"paper"},
    "explain": set(),
    "grammar": set(),
    "completion": set(),
}
# a command line, and the options that it does not use
REFUSED = {
    "export r.json --to json -o b.json --no-verify --int2": "--no-verify --int2",
    "export r.json --to csv -o b.json --partial --images 9": "--partial --images",
    "export q.safetensors --to safetensors -o x.safetensors --calib-images 9": "--calib-images",
    "assign w --max-drop 1% --sweep --avg-bits 3": "--max-drop",
    "assign w --sweep --out r.json": "--out",
    "assign w --avg-bits 3 --tie x --columns y --partial": "--tie --columns --partial",
    "assign --scores s.csv --avg-bits 3 --model m --stat-images 3": "--model --stat-images",
    "assign --scores s.csv --avg-bits 3 --accounting emq --polish 3": "--accounting --polish",
    "assign w --avg-bits 3 --over size": "--over",
    "assign w --avg-bits 3 --calib-images 64 --test x": "--calib-images --test",
    "assign w --sweep --method sample": "--method",
    "assign w --max-drop 1% --method sample": "--method",
    "assign w --avg-bits 3 --samples 9": "--samples",
    "assign w --avg-bits 3 --latency-table t.csv": "--latency-table",
    "assign w --bops 1G --menu W2A4,W4A4 --act-bits 4": "--act-bits",
    "assign --config 4 --avg-bits 2 --size 1KiB --bops 1G --fix a=8": (
        "--avg-bits --size --bops --fix"
    ),
    "assign --config 4 --bits 2,4 --loss self --stat-images 8 --tied sum --no-cache": (
        "--bits --loss --stat-images --tied --no-cache"
    ),
    "quantize --config 3 --avg-bits 2": "--avg-bits",
    "quantize --recipe R --avg-bits 2 --size 1KiB --act-bits 4 --accounting emq": (
        "--avg-bits --size --act-bits --accounting"
    ),
    "quantize --config 3 --iters 5 --fisher": "--iters --fisher",
    "quantize w --avg-bits 3 --samples 5": "--samples",
    "qat q --temperature 2": "--temperature",
    "qat q.safetensors --calib-images 9 --loss f.py:g --distill 1": "--calib-images --loss",
    "bench build --out t --iters 5 --composed": "--iters --composed",
    "bench build --out t --menu W2A4,W4A4 --act-bits 4": "--act-bits",
    "bench build --out t --backend local": "--backend",
    "bench rerun cli/test_uses.py --name a --backend local": "--backend",
    "evolve --resume r --inputs w --max-nodes 3 --seed 9 --table vgg-fmnist-all": (
        "--inputs --max-nodes --seed --table"
    ),
    "evolve --resume r --split all --by loss --stat-images 9 --out x": (
        "--split --by --stat-images --out"
    ),
    "evolve --without osp --structure dag --semantics paper --fitness paper50": (
        "--without --structure --semantics --fitness"
    ),
    "evolve --algorithm emq --max-nodes 9 --selection pareto --ops log --no-choice": (
        "--max-nodes --selection --ops --no-choice"
    ),
    "evolve --combine least": "--combine",
    "evolve --additive --label-draws 4": "--label-draws",
    "evolve --no-choice --label-draws 4": "--label-draws",
    "evolve --inputs w,fisher_qerr --label-draws 4": "--label-draws",
    "experiment --seeds 3 --plot a.svg --json": "--seeds --plot --json",
    "experiment truth --table vgg-fmnist-all": "--table",
    "experiment layerwise --table vgg-fmnist-all --table resnet18-fmnist-all": "--table",
    "assign --config 4 --data noise:8": "--data",
    "assign --config 4 --data noise:8 --model my.py:build --input 1x28x28": "--data",
    "assign --config 4 --hold-unmeasured": "--hold-unmeasured",
    "quantize --recipe R --hold-unmeasured": "--hold-unmeasured",
    "evaluate --data noise:8 --test noise:9": "--data",
    "rank --protocol paper --draws 9 --against size": "--draws --against",
    "simplify w --seconds 3": "--seconds",
    "eval w --bits ''": "--bits",
    "eval w --data '' --model ''": "--data --model",
    "evolve --inputs ''": "--inputs",
    "experiment table1 --only ''": "--only",
}
# the same options where they are used
ACCEPTED = (
    "assign w --sweep --over size --bits 2,4",
    "assign w --max-drop 1% --over size --calib-images 64",
    "assign w --avg-bits 3 --method sample --samples 9 --act-bits 4",
    "assign w --latency 3ms --latency-table t.csv",
    "assign w --sweep --over latency --latency-table t.csv",
    "assign --config 4 --accounting emq --act-bits 4 --out r.json",
    "quantize --config 3 --rounding brecq --iters 5 --fisher --act-bits 4",
    "quantize w --avg-bits 3 --bits 2,4 --tied sum --no-cache",
    "bench build --out t --rounding brecq --iters 5 --composed --act-bits 4",
    "bench build --out t --workers 2 --backend local",
    "evolve --resume r --evals 600 --steps 5 --budget 5m --workers 2",
    "evolve --inputs w --max-nodes 3 --seed 9 --selection pareto --no-choice --ops log",
    "evolve --algorithm emq --without osp --structure dag --semantics paper --seed 1",
    "evolve --table a --table b --combine least",
    "evolve --label-draws 4 --max-nodes 9",
    "evolve --additive --inputs shift,bits --label-draws 4",
    "experiment table3 --seeds 3 --plot a.svg --json --table a --table b",
    "experiment layerwise --table vgg-fmnist-all",
    "assign --config 4 --data noise:8 --model my.py:build",
    "assign --config 4 --data noise:8 --out r.json",
    "evaluate --data noise:8",
    "evaluate --data noise:8 --test noise:9 --model my.py:build",
    "evaluate q --data noise:8 --test noise:9",
    "rank --draws 9 --against size",
    "simplify w --sympy --seconds 3",
)


def problems(line: str) -> list[str]:
    """The messages with which a command line is refused before anything is done."""
    name, *rest = shlex.split(line)
    if name == "bench":
        name = f"bench {rest.pop(0)}"
    command = command_of(name)
    with command.make_context(f"emqlang {name}", rest) as context:
        try:
            uses.check(context)
        except EmqError as refused:
            assert refused.exit_status == 2
            return [each.message for each in refused.diagnostics]
    return []


def test_every_option_of_every_command_is_used_or_refused() -> None:
    assert set(USED) == set(COMMANDS)
    for name in COMMANDS:
        options = {p.name for p in command_of(name).params if isinstance(p, click.Option)}
        ruled = {each for rule in uses.RULES.get(name, ()) for each in rule.options.split()}
        free = EVERYWHERE | (set(uses.READ_BY) if name in ("eval", "rank") else set())
        known = {p.name for p in command_of(name).params}
        assert options - free == ((USED[name] | ruled) & options) - free, name
        assert USED[name] | ruled <= known, name


@pytest.mark.parametrize("line", REFUSED)
def test_what_is_not_used_is_refused_by_name(line: str) -> None:
    flags = [message.split()[0] for message in problems(line)]
    assert sorted(flags) == sorted(REFUSED[line].split())


@pytest.mark.parametrize("line", ACCEPTED)
def test_what_is_used_is_taken(line: str) -> None:
    assert problems(line) == []


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (("eval", "mean(abs(w))", "--loss", "self"), "--loss"),
        (("eval", "mean(x2)", "--loss", "self"), "--loss"),
        (("eval", "mean(grad)", "--hessian-samples", "8"), "--hessian-samples"),
        (("eval", "numel", "qerr", "--stat-images", "8"), "--stat-images"),
        (("assign", "numel", "--avg-bits", "3", "--stat-images", "8"), "--stat-images"),
        (("quantize", "numel", "--avg-bits", "3", "--loss", "self"), "--loss"),
        (("rank", "numel", "--loss", "self"), "--loss"),
        (("eval", "mean(abs(w))", "--data", "noise:8"), "--data"),
        (("assign", "numel", "--avg-bits", "3", "--data", "noise:8"), "--data"),
        (("assign", "numel", "--sweep", "--data", "noise:8"), "--data"),
    ],
)
def test_an_option_that_no_statistic_reads_is_refused(
    emq: Emq, words: tuple[str, ...], flag: str
) -> None:
    done = emq(*words, "--json")
    (error,) = json.loads(done.out)["errors"]
    assert done.status == 2 and error["code"] == "E403" and error["message"].startswith(flag)


@pytest.mark.parametrize("option", ["--data", "--test"])
@pytest.mark.parametrize("what", ["nosuchdir", "nosuch.py:f"])
def test_data_that_nobody_reads_is_there(emq: Emq, own: Path, option: str, what: str) -> None:
    command = "eval" if option == "--data" else "evaluate"
    words = ("mean(abs(w))",) if command == "eval" else ("--model", "my.py:build")
    assert emq(command, *words, option, what).status == 3


def consumed(command: str) -> set[str]:
    """What a command's function names: its parameters, and the fields of what it picks."""
    function = inspect.unwrap(command_of(command).callback or test_refusals_are_records_under_json)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    module = dict(vars(sys.modules[function.__module__]))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            home = importlib.import_module(node.module)
            module |= {
                each.name: getattr(home, each.name, None) or f"{node.module}.{each.name}"
                for each in node.names
            }
    found = {*inspect.signature(function).parameters} - {"options", "ctx"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = module.get(node.func.id) if isinstance(node.func, ast.Name) else None
            kinds = [module.get(arg.id) for arg in node.args if isinstance(arg, ast.Name)]
            spread = any(keyword.arg is None for keyword in node.keywords)
            for kind in (*kinds, *([called] if spread else [])):
                if isinstance(kind, type):
                    found |= set(inspect.signature(kind).parameters)
    return found


# What takes its options whole, and not by an options object: the names that it reads of them.
WHOLE: dict[str, set[str]] = {
    "evolve": {
        *("algorithm", "seed", "islands", "population", "inputs", "ops", "no_choice", "max_nodes"),
        *("additive", "selection", "structure", "fitness", "semantics", "without", "combine"),
    },
    "bench rerun": {"seed", "data", "calib_images"},
    "repl": {field.name for field in fields(WorkbenchOptions)},
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_reaches_what_the_command_does(name: str) -> None:
    """None is declared, taken and dropped on the way."""
    options = {p.name for p in command_of(name).params if p.name not in EVERYWHERE}
    assert options - consumed(name) - WHOLE.get(name, set()) == set()


def test_refusals_are_records_under_json(emq: Emq) -> None:
    done = emq("quantize", "--config", "3", "--avg-bits", "2", "--json")
    (error,) = json.loads(done.out)["errors"]
    assert done.status == 2 and error["message"].startswith("--avg-bits is not used")
