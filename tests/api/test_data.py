"""Batches and outputs in the containers that people use, and data that is spent or written to."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.prune import l1_unstructured as l1
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

import emqlang as emq
from emqlang.grammar.diagnostics import EmqError

PROXIES = ["fisher_error", "mean(abs(act))", "orm", "kl", "hess_trace"]


@dataclass
class Output:
    logits: Tensor


class Named(dict[str, Any]):
    pass


class Network(nn.Module):
    """(x - 0.3) / 0.5 before the layers, out of place or in place on the tensor given."""

    def __init__(self, wrap: Callable[[Tensor], Any] = lambda out: out, *, in_place: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
        self.wrap, self.in_place = wrap, in_place

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.net(x.sub_(0.3).div_(0.5) if self.in_place else (x - 0.3) / 0.5))


def tensors() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(48, 8, generator=generator)
    return values, torch.randint(0, 3, (48,), generator=generator)


def everything(net: nn.Module, batch: Any, rounding: str = "nearest") -> tuple[Any, ...]:
    """Scores, bits, integers and figures: all that the API says of a network on some data."""
    statistics = emq.collect(net, [batch], images=16)
    scores = [table.scores.tolist() for table in emq.score(PROXIES, statistics)]
    recipe = emq.assign("fisher_error", statistics, avg_bits=3)
    quantized = emq.quantize(net, recipe, [batch], rounding=rounding, iterations=5)
    state = [value.tolist() for value in quantized.module.state_dict().values()]
    found = emq.evaluate(quantized, [batch], reference=net)
    return scores, recipe.bits, state, found


@pytest.mark.filterwarnings("ignore::emqlang.EmqWarning")
@pytest.mark.parametrize("wrap", [Output, lambda out: Named(logits=out), lambda out: (out, 0)])
def test_batches_and_outputs_come_in_any_container(wrap: Callable[[Tensor], Any]) -> None:
    values, labels = tensors()
    wanted = everything(Network(), (values, labels))
    for batch in (UserDict(x=values, labels=labels), Named(x=values, labels=labels)):
        assert everything(Network(wrap), batch) == wanted


@pytest.mark.filterwarnings("ignore::emqlang.EmqWarning")
@pytest.mark.parametrize("rounding", ["nearest", "adaround", "brecq"])
def test_a_network_that_writes_to_its_input_is_the_one_that_does_not(rounding: str) -> None:
    values, labels = tensors()
    wanted = everything(Network(), (values, labels), rounding)
    assert everything(Network(in_place=True), (values, labels), rounding) == wanted
    assert torch.equal(values, tensors()[0]), "what the user gave is left as it was"


def test_a_generator_that_is_spent_has_no_batches() -> None:
    net, batch = nn.Linear(8, 3), tensors()
    data = (each for each in [batch])
    recipe = emq.assign("bit_sum", emq.collect(net, data), avg_bits=4)
    for call in (
        lambda: emq.quantize(net, recipe, data),
        lambda: emq.quantize(net, recipe, data, images=8),
        lambda: emq.collect(net, data),
        lambda: emq.evaluate(net, data),
    ):
        with pytest.raises(EmqError, match="the data has no") as caught:
            call()
        assert caught.value.diagnostics[0].code == "E304"


@pytest.mark.filterwarnings("ignore::emqlang.EmqWarning", "ignore::DeprecationWarning")
def test_a_part_that_is_torchscript_stays_in_float() -> None:
    values, labels = tensors()
    torch.manual_seed(0)
    first, last = nn.Linear(8, 16), nn.Linear(16, 3)
    _, bits, state, found = everything(
        nn.Sequential(torch.jit.script(first), nn.ReLU(), last), (values, labels)
    )
    assert set(bits) == {"2"} and found.agreement is not None
    assert state[:2] == [first.weight.tolist(), first.bias.tolist()]


def test_a_module_that_cannot_be_copied_is_a_sentence() -> None:
    class Stays(nn.Linear):
        def eval(self) -> Any:
            raise RuntimeError("always training")

    net, batch = nn.Linear(8, 3), tensors()
    net.stream = (each for each in [1])  # type: ignore[assignment]
    for model in (net, Stays(8, 3)):
        for call in (emq.evaluate, emq.collect):
            with pytest.raises(EmqError) as caught:
                call(model, [batch])
            assert caught.value.diagnostics[0].code == "E308"


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::emqlang.EmqWarning")
@pytest.mark.parametrize("hook", [nn.utils.weight_norm, lambda part: l1(part, "weight", 0.5)])
def test_a_network_that_computes_its_weights_by_hooks(hook: Callable[..., nn.Module]) -> None:
    values, labels = tensors()
    net = nn.Sequential(hook(nn.Linear(8, 16)), nn.ReLU(), nn.Linear(16, 3))
    found = emq.evaluate(net, [(values, labels)], reference=net)
    right = (net(values).argmax(1) == labels).float().mean()
    assert found.accuracy == pytest.approx(float(right)) and found.agreement == 1
    assert set(everything(net, (values, labels))[1]) == {"0", "2"}


def test_a_metric_may_write_to_its_batch() -> None:
    x, y = tensors()
    kept = x.clone()

    def metric(outputs: Any, batch: Any) -> float:
        batch[0].zero_()
        return float((outputs.argmax(-1) == batch[1]).float().mean())

    found = emq.evaluate(Network(), [(x, y)], metric)
    assert found.metric == pytest.approx(found.accuracy) and x.equal(kept)


def test_batches_without_rows_are_passed_over() -> None:
    x, y = tensors()
    data = [(x[:0], y[:0]), (x[:9], y[:9]), (x[:0], y[:0]), (x[9:], y[9:])]
    statistics = emq.collect(Network(), data, images=16)
    quantized = emq.quantize(Network(), emq.assign("fisher_error", statistics, avg_bits=3), data)
    found = emq.evaluate(quantized, data, reference=Network())
    assert found == emq.evaluate(quantized, [data[1], data[3]], reference=Network())
    assert found.images == 48


X, Y = tensors()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"x": X, "y": Y}, "the data is a dict"),
        (X, "the data is a Tensor"),
        ([(X.numpy(), Y.numpy())], "holds no tensor of inputs, but a ndarray"),
        ([(X, Y.tolist())], "the labels are a list, not a tensor: torch.as_tensor"),
        ([(X, ["cat"] * 48)], r"the labels are a list, not a tensor\n"),
        ((X, Y), "the data is a tuple of 2 tensors: one batch"),
        ([X, Y], "the data is a list of 2 tensors: one batch"),
    ],
)
def test_what_is_no_data_says_what_it_is(data: Any, message: str) -> None:
    with pytest.raises(EmqError, match=message) as caught:
        emq.score("fisher_error", emq.collect(Network(), data, images=16))
    assert caught.value.diagnostics[0].code == "E304"


@pytest.mark.parametrize(
    ("data", "metric", "code"),
    [
        ([(X, Y), X], None, "E303"),
        ([(X, Y)], lambda outputs, batch: float("nan"), "E304"),
        ([(X, Y.tolist())], None, "E303"),
    ],
)
def test_figures_that_would_be_of_something_else_are_refused(
    data: Any, metric: Any, code: str
) -> None:
    with pytest.raises(EmqError) as caught:
        emq.evaluate(Network(), data, metric)
    assert caught.value.diagnostics[0].code == code


def endlessly() -> Iterator[Any]:
    while True:
        yield X, Y


def test_of_data_without_end_what_is_asked_for_is_read() -> None:
    net = Network()
    statistics = emq.collect(net, endlessly(), images=48)
    wanted = emq.score("fisher_error", emq.collect(net, [(X, Y)], images=48))
    assert (emq.score("fisher_error", statistics).scores == wanted.scores).all()
    with pytest.raises(EmqError, match="100,000 rows, and does not end"):
        emq.evaluate(net, endlessly())


def test_a_pair_of_ids_and_labels_is_not_two_batches() -> None:
    ids = torch.randint(0, 9, (8, 4))
    net = nn.Sequential(nn.Embedding(9, 9), nn.Linear(9, 9)).eval()
    with pytest.raises(EmqError, match="a tuple of 2 tensors: one batch"):
        emq.evaluate(net, (ids, ids), reference=net)
    assert emq.evaluate(net, [ids, ids], reference=net).images == 16
    assert emq.evaluate(Network(), [X, X[:3]], nothing).images == 51


def nothing(outputs: Any, batch: Any) -> float:
    return 0.0


def test_arrays_are_no_batches() -> None:
    with pytest.raises(EmqError, match="batch 1 of the data holds no tensor of inputs"):
        emq.evaluate(Network(), [(X, Y), {"x": X.numpy()}])


def test_labels_of_some_batches_are_not_those_of_all() -> None:
    with pytest.raises(EmqError, match="some batches have labels, and others have none"):
        emq.evaluate(Network(), [(X, Y), X], reference=Network())


@pytest.mark.parametrize("net", [nn.LazyLinear(3), nn.Sequential(nn.Flatten(), nn.LazyLinear(3))])
def test_a_reference_without_weights_is_none(net: nn.Module) -> None:
    with pytest.raises(EmqError, match="made parameters, at random"):
        emq.evaluate(Network(), [(X, Y)], reference=net)


class Drops(nn.Module):
    """Dropout that its code leaves on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(nn.functional.dropout(x, 0.5))


class Centres(Drops):
    """Each row less the mean of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x - x.mean(0))


@pytest.mark.parametrize(("network", "code"), [(Drops, "W614"), (Centres, "W619")])
def test_evaluate_warns_of_what_the_answers_change_with(
    network: type[nn.Module], code: str
) -> None:
    with pytest.warns(emq.EmqWarning, match=code):
        emq.evaluate(network(), [tensors()])


def test_evaluate_of_a_name_warns_as_its_network_does() -> None:
    random = emq.load("resnet18-fmnist", "random")
    data = [torch.randn(4, 1, 28, 28)]
    with pytest.warns(emq.EmqWarning, match="W603"):
        emq.evaluate(random, data, reference=random)


class Rows(IterableDataset[Any]):
    """Of which each worker gives all, or its part."""

    def __init__(self, shared: bool) -> None:
        self.shared = shared

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        start, step = (
            (0, 1) if worker is None or not self.shared else (worker.id, worker.num_workers)
        )
        pairs = list(zip(*tensors(), strict=True))
        return iter(pairs[start::step])


@pytest.mark.parametrize(("shared", "workers"), [(True, 2), (False, 1), (False, 0)])
def test_rows_of_an_iterable_dataset_count_once(shared: bool, workers: int) -> None:
    data = DataLoader(Rows(shared), batch_size=8, num_workers=workers)
    found, plain = emq.evaluate(Network(), data), emq.evaluate(Network(), [tensors()])
    assert found.images == 48 and found.accuracy == plain.accuracy
    assert found.loss == pytest.approx(plain.loss)


def test_rows_that_every_worker_gives_are_refused() -> None:
    data = DataLoader(Rows(shared=False), batch_size=8, num_workers=2)
    with pytest.raises(EmqError, match="gives every row 2 times, once for each worker") as caught:
        emq.evaluate(Network(), data)
    assert caught.value.diagnostics[0].code == "E304"
