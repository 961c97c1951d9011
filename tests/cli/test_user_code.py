"""Commands on code of the user's that prints, exits and draws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import Emq

CODE = """
import sys
import numpy as np
import torch
from torch import nn
from torch.nn.functional import dropout

print("IMPORTED")


class Net(nn.Module):
    says, ends, rate = "", False, 0.0

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(16, 12), nn.Linear(12, 10)

    def forward(self, x):
        if self.ends:
            sys.exit(0)
        if self.says:
            print(self.says)
        h = dropout(self.a(x.flatten(1)).relu(), self.rate, training=True)
        y = self.b(h)
        if self.rate:
            y = y + float(np.random.rand())
        if self.says and y.requires_grad:
            y.register_hook(lambda slope: print("BACKWARD"))
        return y


def build(**settings):
    print("BUILT")
    torch.manual_seed(0)
    net = Net()
    vars(net).update(settings)
    return net, torch.zeros(1, 1, 4, 4)


def loud(): return build(says="FORWARD")
def ending(): return build(ends=True)
def drawing(): return build(rate=0.5)
def exits(): sys.exit(0)


def data():
    print("LOADED")
    generator = torch.Generator().manual_seed(0)
    yield torch.randn(64, 1, 4, 4, generator=generator), torch.arange(64) % 10


def stops():
    yield from data()
    sys.exit(0)
"""
COMMANDS = {
    "eval": ("mean(abs(w)) + mean(abs(grad)) + hess_trace", "--stat-images", "16", "--no-cache"),
    "assign": ("fisher_error", "--avg-bits", "3", "--stat-images", "16", "--no-cache"),
    "quantize": ("--config", "3", "--calib-images", "32", "--no-check"),
}


@pytest.fixture
def code(tmp_path: Path) -> str:
    path = tmp_path / "code.py"
    path.write_text(CODE)
    return str(path)


def command(name: str, code: str, model: str, data: str = "data") -> tuple[str, ...]:
    own = ("--model", f"{code}:{model}", "--data", f"{code}:{data}")
    return (name, *COMMANDS[name], *own, "--json")


@pytest.mark.parametrize("name", COMMANDS)
def test_what_it_prints_is_not_in_the_document(emq: Emq, code: str, name: str) -> None:
    done = emq(*command(name, code, "loud"))
    assert done.status == 0 and isinstance(json.loads(done.out), dict)
    said = {"IMPORTED", "BUILT", "LOADED", "FORWARD", *(["BACKWARD"] * (name != "quantize"))}
    assert all(word in done.err for word in said)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("model", "data", "error"), [("exits", "data", "E305"), ("ending", "data", "E308")]
)
def test_its_exit_is_no_answer(
    emq: Emq, code: str, name: str, model: str, data: str, error: str
) -> None:
    done = emq(*command(name, code, model, data))
    (record,) = json.loads(done.out)["errors"]
    assert done.status == 3 and record["code"] == error and "SystemExit: 0" in record["message"]


def test_a_loader_that_exits_is_named(emq: Emq, code: str) -> None:
    done = emq(*command("quantize", code, "build", "stops"))
    (record,) = json.loads(done.out)["errors"]
    assert done.status == 3 and record["code"] == "E304" and "SystemExit: 0" in record["message"]


@pytest.mark.parametrize("name", COMMANDS)
def test_what_it_draws_is_the_same_in_every_run(emq: Emq, code: str, name: str) -> None:
    first, again = (emq(*command(name, code, "drawing")) for _ in range(2))
    assert first.status == 0 and "W614" in first.err
    assert timeless(json.loads(first.out)) == timeless(json.loads(again.out))


def timeless(value: Any) -> Any:
    """A document without what it says of time."""
    if isinstance(value, dict):
        return {name: timeless(part) for name, part in value.items() if "seconds" not in name}
    return [timeless(part) for part in value] if isinstance(value, list) else value
