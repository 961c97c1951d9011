"""What does not compute must start fast: commands about text load none of the heavy libraries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "numpy", "scipy", "sympy", "networkx", "safetensors", "PIL"}
PROBE = """
import sys
from emqlang.cli import run
status = run(sys.argv[1:])
sys.stderr.write("\\nmodules " + " ".join(sorted({m.split(".")[0] for m in sys.modules})))
sys.exit(status)
"""


def loaded(*arguments: str, cwd: Path, **environment: str) -> tuple[int, set[str]]:
    """Exit status and top-level modules after one command in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROBE, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, set(done.stderr.rpartition("modules ")[2].split())


@pytest.fixture
def proxies(tmp_path: Path) -> Path:
    lines = "\n".join(
        f"p{i} = log(abs(grad_synflow)) * sqrt(mean(abs(w))) + {i}" for i in range(100)
    )
    (tmp_path / "proxies.emq").write_text(lines + "\n")
    return tmp_path


COMMANDS = """
--help
eval --help
--version
check proxies.emq
check log(abs(w))
fmt --check proxies.emq
ops
ops --json
ops --paper
explain E102
explain hess
grammar
completion zsh
models
"""


@pytest.mark.parametrize("line", COMMANDS.strip().splitlines())
def test_commands_about_text_load_nothing_heavy(line: str, proxies: Path) -> None:
    status, modules = loaded(*line.split(), cwd=proxies)
    assert status == 0
    assert "emqlang" in modules
    assert not modules & HEAVY


@pytest.mark.parametrize(
    "words",
    [
        "emqlang ev",
        "emqlang eval log(gr",
        "emqlang eval --model res",
        "emqlang eval --proxy h",
        "emqlang explain E",
    ],
)
def test_completion_loads_nothing_heavy(words: str, proxies: Path) -> None:
    position = str(len(words.split()) - 1)
    status, modules = loaded(
        cwd=proxies, _EMQLANG_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=position
    )
    assert status == 0
    assert not modules & HEAVY


def test_check_and_help_load_no_table_library(proxies: Path) -> None:
    for arguments in (("--help",), ("check", "proxies.emq"), ("fmt", "--check", "proxies.emq")):
        assert "rich" not in loaded(*arguments, cwd=proxies)[1]


def test_matplotlib_waits_for_a_figure() -> None:
    code = """
import sys, emqlang as emq
table = emq.load_table("vgg-fmnist-all")
assert emq.plot.__doc__ and callable(table.plot) and "matplotlib" not in sys.modules
table.plot()
assert "matplotlib.figure" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_importing_the_package_loads_neither_torch_nor_lark() -> None:
    heavy = "{'torch', 'lark', 'numpy', 'click'}"
    code = f"import emqlang as emq, sys; dir(emq); assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
