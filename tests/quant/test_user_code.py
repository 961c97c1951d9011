"""Code of the user: whatever it raises, prints or draws stays its own."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from measured import collect
from subjects import quantized
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import emqlang as emq
from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.networks.batches import run
from emqlang.quant.networks.network import prepare
from emqlang.quant.user_code import Enough, first_sentence, foreign, load_object


@contextmanager
def refused(code: str, *said: str) -> Iterator[None]:
    with pytest.raises(EmqError) as failure:
        yield
    assert failure.value.diagnostics[0].code == code
    assert all(words in str(failure.value) for words in said), str(failure.value)


def call(model: nn.Module, batch: Any) -> Any:
    return model(batch)


class Stops(BaseException):
    """What is no Exception."""


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (SystemExit(0), "SystemExit: 0"),
        (SystemExit(), "failed: SystemExit"),
        (Stops("it"), "Stops: it"),
        (StopIteration(), "StopIteration"),
        (Mute(), "failed: Mute"),
        (RecursionError("too deep\nat all"), "RecursionError: too deep"),
    ],
)
def test_whatever_is_raised_is_an_error_that_names_it(reason: BaseException, said: str) -> None:
    with refused("E304", said), foreign("E304", "the loader"):
        raise reason


@pytest.mark.parametrize("way_out", [KeyboardInterrupt, Enough])
def test_an_interrupt_and_our_own_way_out_pass(way_out: type[BaseException]) -> None:
    with pytest.raises(way_out), foreign("E304", "the loader"):
        raise way_out


def test_what_is_printed_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with foreign("E304", "the loader"):
        print("LOADING")
        sys.stdout.write("still\n")
    print("ours")
    assert capsys.readouterr() == ("ours\n", "LOADING\nstill\n")


def test_an_import_prints_to_stderr_and_may_not_exit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loud, ends = tmp_path / "loud.py", tmp_path / "ends.py"
    loud.write_text("print('LOADING')\nthing = 1\n")
    ends.write_text("import sys\nsys.exit(3)\n")
    assert load_object(f"{loud}:thing") == 1
    assert capsys.readouterr() == ("", "LOADING\n")
    with refused("E301", "SystemExit: 3", str(ends)):
        load_object(f"{ends}:thing")


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("one\ntwo", "one"),
        ("you have two options, \n\t(1) this\n(2) that", "you have two options, (1) this"),
        ("\x1b[1mbold\x1b[0m and \x1b]0;title\x07\x07 plain", "bold and \\x07 plain"),
        ("  \n", ""),
        ("a" * 5000, "a" * 400 + "..."),
    ],
)
def test_one_sentence_of_it_is_shown(text: str, first: str) -> None:
    assert first_sentence(text) == first


class Draws(nn.Module):
    """Monte Carlo dropout, with noise from numpy and from Python."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        kept = F.dropout(self.a(x).relu(), 0.5, training=True)
        return self.b(kept) + float(np.random.standard_normal()) + random.random()


def test_a_forward_draws_the_same_for_the_same_batch_and_leaves_the_generators() -> None:
    torch.manual_seed(0)
    net, x, y = Draws().eval(), torch.randn(4, 8), torch.randn(4, 8)
    torch.manual_seed(11), np.random.seed(11), random.seed(11)
    wanted = torch.rand(1), np.random.standard_normal(), random.random()
    torch.manual_seed(11), np.random.seed(11), random.seed(11)
    first, other, again = run(net, x, call), run(net, y, call), run(net, x, call)
    assert torch.equal(first, again)
    noise = [
        (answer - net.b(net.a(batch).relu()))[0, 0] for answer, batch in [(first, x), (other, y)]
    ]
    assert noise[0] != noise[1]
    assert (torch.rand(1), np.random.standard_normal(), random.random()) == wanted


def test_statistics_and_calibration_of_a_forward_that_draws_are_the_same_in_every_run() -> None:
    torch.manual_seed(0)
    net, (x, y) = Draws(), (torch.randn(8, 8), torch.randint(0, 4, (8,)))
    names = ["grad", "fisher", "hess_trace", "act", "kl"]
    found = [collect(prepare(net, x[:1]), names, x, y) for _ in range(2)]
    for name in names:
        assert torch.equal(*(each.array(name) for each in found)), name
    rounded = [
        quantized(prepare(net, x[:1]), [x], rounding="adaround", iterations=20) for _ in range(2)
    ]
    assert torch.equal(*(run(each.module, x, call) for each in rounded))


class Reentrant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.s, self.a, self.o = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.o(checkpoint(self.a, self.s(x).relu(), use_reentrant=True))


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).exp()
        y = self.b(h)
        h.add_(1)
        return y


class OnlyReads(torch.autograd.Function):
    """An op whose backward fails."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise SystemExit(5)


class Ends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = OnlyReads.apply(self.b(self.a(x)))
        return answer


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Reentrant, "use_reentrant=False"),
        (InPlace, "write `x = x + y`"),
        (Ends, "SystemExit: 5"),
    ],
)
@pytest.mark.filterwarnings("ignore:None of the inputs")
@pytest.mark.parametrize("name", ["fisher", "hess_trace"])
def test_a_backward_that_fails_is_the_networks(kind: type[nn.Module], said: str, name: str) -> None:
    network = prepare(kind(), torch.zeros(1, 16))
    with refused("E308", "backward failed", said):
        collect(network, [name], torch.randn(4, 16), torch.zeros(4, dtype=torch.long))


class Counts(nn.Module):
    """Its state is its own: no seed makes it answer the same."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.calls = nn.Linear(8, 4), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        answer: Tensor = self.a(x) + self.calls
        return answer


@pytest.mark.parametrize(("kind", "codes"), [(Draws, ["W614"]), (Counts, ["W614"]), (InPlace, [])])
def test_a_network_that_answers_differently_each_time_is_named(
    kind: type[nn.Module], codes: list[str]
) -> None:
    network = prepare(kind(), torch.ones(2, 16 if kind is InPlace else 8))
    assert [warning.code for warning in network.warnings] == codes


class Odd(nn.Module):
    """A network whose class does something of its own in place of `what`."""

    def __init__(self, what: str, does: Any) -> None:
        super().__init__()
        self.a = nn.Linear(8, 4)
        kind = type(self)
        self.__class__ = type(kind.__name__, (kind,), {what: does})

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.a(x)
        return answer


def ends(*args: Any, **named: Any) -> Any:
    raise SystemExit(0)


@pytest.mark.parametrize(
    ("what", "does", "code"),
    [
        ("tied_layers", property(ends), "E309"),
        ("tied_layers", 3, "E309"),
        ("tied_layers", [["a"], 3], "E309"),
        ("tied_layers", ["a"], "E309"),
        ("tied_layers", [[["a"]]], "E309"),
        ("state_dict", ends, "E308"),
        ("named_parameters", ends, "E308"),
        ("train", ends, "E308"),
        ("__deepcopy__", ends, "E308"),
        ("forward", ends, "E308"),
    ],
)
def test_whatever_of_a_module_fails_is_named(what: str, does: Any, code: str) -> None:
    with refused(code):
        prepare(Odd(what, does), torch.zeros(1, 8))


@pytest.mark.parametrize(
    ("what", "does"),
    [("tied_layers", None), ("tied_layers", []), ("eval", lambda self: None)],
)
def test_what_does_no_harm_is_taken(what: str, does: Any) -> None:
    assert len(prepare(Odd(what, does), torch.zeros(1, 8)).collection.layers) == 1


@pytest.mark.parametrize("example", [torch.zeros(0, 8), torch.zeros(1, 8, device="meta")])
def test_an_example_of_nothing_is_refused(example: Tensor) -> None:
    with refused("E308", "the example"):
        prepare(nn.Linear(8, 4), example)


@pytest.mark.parametrize(
    "batch",
    [
        torch.eye(8).to_sparse(),
        torch.zeros(3, 8, dtype=torch.complex64).conj(),
        torch.zeros(0, 8),
        torch.zeros(3, 8, dtype=torch.bool),
        torch.zeros(3, 8, dtype=torch.bfloat16),
        [torch.tensor(1.0), "text", None],
    ],
)
def test_any_batch_may_be_run(batch: Any) -> None:
    assert run(nn.Identity(), batch, call) is not None


def ending_batches() -> Iterator[tuple[Tensor, Tensor]]:
    print("LOADING")
    yield torch.randn(8, 8), torch.zeros(8, dtype=torch.long)
    raise SystemExit(0)


class Loader:
    """Fails only in its second pass if it is `steady`."""

    def __init__(self, steady: bool) -> None:
        self.steady, self.passes = steady, 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        self.passes += 1
        if self.passes > self.steady:
            return ending_batches()
        return iter([(torch.ones(8, 8), torch.zeros(8, dtype=torch.long))])


@pytest.mark.parametrize("make", [ending_batches, lambda: Loader(False), lambda: Loader(True)])
def test_batches_of_the_python_api_are_run_as_user_code(
    make: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    net = nn.Sequential(nn.Linear(8, 4))
    data = make()
    with refused("E304", "the data failed: SystemExit: 0"):
        for _ in range(2):
            emq.evaluate(net, data)
    assert capsys.readouterr().out == ""


def test_a_loss_that_draws_gives_the_same_in_every_run() -> None:
    def loss(outputs: Any, batch: Any) -> Tensor:
        return (outputs * torch.rand(outputs.shape)).sum()

    torch.manual_seed(0)
    net, data = nn.Sequential(nn.Linear(8, 4)), [(torch.randn(8, 8), torch.zeros(8).long())]
    one, two = (
        emq.score("mean(abs(grad))", emq.collect(net, data, loss=loss, images=8)) for _ in range(2)
    )
    assert (one.values == two.values).all()
