"""Collection: every row of the input table for every network, reproducibly; and refusals."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from measured import COUNT, collect, data_of, labelled, layer_values, small
from networks import SHAPES, Chain, Tiny, seeded
from subjects import KINDS, inputs, ready
from torch import Tensor, nn

import emqlang as emq
from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.inputs import INPUTS, Axis, Kind
from emqlang.grammar.signs import NONNEGATIVE, POSITIVE
from emqlang.quant.bits.menu import parse_bits, parse_menu
from emqlang.quant.data.datasets import Dataset
from emqlang.quant.networks.network import Network, prepare
from emqlang.quant.ptq.grids import WeightQuantizer
from emqlang.quant.statistics.collect import OBSERVERS, PASSES, collect_statistics
from emqlang.quant.statistics.options import StatisticsOptions

SHAPE = (2, 5, 5)
EVERYTHING = tuple(INPUTS)
FREE = [name for name, row in INPUTS.items() if not row.needs_data]
Subject = tuple[Network, Tensor, Tensor]


@pytest.fixture(scope="module")
def subject() -> Subject:
    return labelled(small(), SHAPE)


def test_every_row_of_the_input_table_is_collected_once() -> None:
    named = [name for part in PASSES for name in part.names]
    assert sorted(named) == sorted(INPUTS) and set(OBSERVERS) <= set(INPUTS)


@pytest.mark.parametrize("name", EVERYTHING)
def test_only_what_is_asked_for_is_measured(
    subject: Subject, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = [part for part in PASSES if name in part.names]
    monkeypatch.setattr("emqlang.quant.statistics.collect.PASSES", own)
    shown: list[str] = []
    data = deepcopy(data_of(*subject[1:]))
    object.__setattr__(data, "stream", lambda: shown.append(name) or iter([subject[1:]]))
    assert set(collect_statistics(subject[0], [name], parse_bits("2"), data).arrays) == {name}
    assert shown == [name] * INPUTS[name].needs_data, "images are read only if they are needed"


def test_shape_facts(subject: Subject) -> None:
    names = ["numel", "act_numel", "fan_in", "channels_in", "channels_out", "macs", "depth"]
    found = collect(subject[0], names, *subject[1:])
    assert {name: found.array(name).tolist() for name in names} == {
        "numel": [24, 48, 12],
        "act_numel": [48, 36, 3],
        "fan_in": [8, 12, 4],
        "channels_in": [2, 3, 4],
        "channels_out": [3, 4, 3],
        "macs": [8 * 48, 12 * 36, 12],
        "depth": [0, 1, 2],
    }


def test_weights_lie_output_channels_first() -> None:
    network, values, _ = labelled(seeded(Chain), SHAPES[Chain])
    found = collect(network, ["w"], values, None)
    for layer, part in zip(network.collection.layers, layer_values(found, "w"), strict=True):
        assert torch.equal(layer.unrows(part.view(layer.channels_out, layer.fan_in)), layer.weight)
    assert found.rows == tuple(layer.channels_out for layer in network.collection.layers)


@pytest.mark.parametrize(
    "menu", [parse_bits("2,4"), parse_menu("W4A8,W2A8,W2A4")], ids=["bits", "pairs"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_every_statistic_of_every_network_is_as_its_row_says(
    kind: type[nn.Module], menu: tuple[Any, ...]
) -> None:
    network = ready(kind)
    options = StatisticsOptions(loss="self", hessian_samples=2)
    found = collect_statistics(network, EVERYTHING, menu, data_of(inputs(kind, 3), None), options)
    rows = {
        Axis.NONE: (),
        Axis.WEIGHT_BITS: (2,),
        Axis.ACT_BITS: (len({c.act_bits for c in menu}),),
        Axis.CHOICE: (len(menu),),
    }
    sizes = {
        Kind.LAYER: len(found.layers),
        **{Kind(kind): offsets[-1] for kind, offsets in found.offsets.items()},
    }
    for name, row in INPUTS.items():
        values = found.array(name)
        wide = row.kind is Kind.LAYER or name == "grad_synflow"
        assert values.isfinite().all(), name
        assert values.shape == (*rows[row.axis], sizes[row.kind]) and values.dtype == (
            torch.float64 if wide else torch.float32
        ), name
        assert row.sign not in (NONNEGATIVE, POSITIVE) or (values >= 0).all(), name
        assert row.sign != POSITIVE or (values > 0).all(), name
    assert set(found.errors) == {"hess_trace"} and found.errors["hess_trace"].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_networks_of_other_precisions_are_given_images_of_theirs(dtype: torch.dtype) -> None:
    network = prepare(seeded(Chain).to(dtype), inputs(Chain, 2).to(dtype))
    single = prepare(seeded(Chain), inputs(Chain, 2))
    found, wanted = (
        collect(net, EVERYTHING, images, torch.tensor([0, 1, 2]), hessian_samples=2)
        for net, images in ((network, inputs(Chain, 3).to(dtype)), (single, inputs(Chain, 3)))
    )
    assert all(found.array(name).isfinite().all() for name in EVERYTHING)
    first = slice(
        *found.offsets["weight"][:2]
    )  # in half precision the later norms do not fold to 1e-5, and stay
    for name in ("w", "x2"):
        torch.testing.assert_close(
            found.array(name)[first], wanted.array(name)[first], rtol=0.02, atol=1e-3
        )


EXACT = "grad fisher shift x2 act grad_act act_var fisher_act qerr grad_synflow"
ROUNDED = "hess hess_eig orm act_qerr kl loss_inc out_mse act_shift loss_shift"


def test_the_same_seed_gives_the_same_values(subject: Subject) -> None:
    """Bit for bit on a small network; to rounding, for sums that torch splits among threads."""
    network, values, labels = subject
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            names = f"{EXACT} {ROUNDED}".split()
            found.append(collect(network, names, values, labels, seed=3, hessian_samples=8))
            assert torch.get_num_threads() == count, "as it was before"
    finally:
        torch.set_num_threads(threads)
    assert found[0].fingerprint == found[1].fingerprint
    assert all(torch.equal(found[0].array(name), found[1].array(name)) for name in EXACT.split())
    for name in ROUNDED.split():
        torch.testing.assert_close(found[0].array(name), found[1].array(name), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", EVERYTHING)
def test_taken_alone_it_is_the_same_as_among_all(subject: Subject, name: str) -> None:
    network, values, labels = subject
    alone, among = (
        collect(network, names, values, labels, hessian_samples=4) for names in ([name], EVERYTHING)
    )
    assert torch.equal(alone.array(name), among.array(name))


def test_another_seed_gives_other_probes_and_no_other_gradient(subject: Subject) -> None:
    network, values, labels = subject
    one, two = (
        collect(network, ["hess", "grad", "x2"], values, labels, seed=seed) for seed in (3, 4)
    )
    assert not torch.equal(one.array("hess"), two.array("hess"))
    assert torch.equal(one.array("grad"), two.array("grad")) and torch.equal(
        one.array("x2"), two.array("x2")
    )


def test_the_labels_may_be_the_networks_own(subject: Subject) -> None:
    network, values, _ = subject
    drawn = collect(network, ["grad"], values, None, loss="self").array("grad")
    assert drawn.abs().max() > 0 and torch.equal(
        drawn, collect(network, ["grad"], values, None, loss="self").array("grad")
    )
    assert not torch.equal(
        drawn, collect(network, ["grad"], values, None, loss="self", seed=1).array("grad")
    )


def test_a_loss_of_the_users_own(subject: Subject) -> None:
    network, values, labels = subject

    def loss(scores: Tensor, batch: tuple[Tensor, Tensor | None]) -> Tensor:
        assert len(scores) == len(batch[0]) == len(batch[1] if batch[1] is not None else scores)
        return scores.square().sum(1).mean()

    found = collect(network, ["grad", "loss_inc"], values, labels, loss=loss).array("grad")
    weights = [layer.weight for layer in network.collection.layers]
    wanted = torch.autograd.grad(network.module(values).square().sum(1).mean(), weights)
    torch.testing.assert_close(
        found, torch.cat([slope.flatten() for slope in wanted]), rtol=1e-4, atol=1e-6
    )


def test_a_loss_of_the_users_own_may_be_one_for_each_row(subject: Subject) -> None:
    network, values, labels = subject

    def each(scores: Tensor, batch: Any) -> Tensor:
        return scores.square().sum(1)

    names, few = ["fisher", "loss_inc"], (values[:4], None if labels is None else labels[:4])
    rows = collect(network, names, *few, images=4, loss=each)
    mean = collect(network, names, *few, images=4, loss=lambda *given: each(*given).mean())
    assert all(torch.equal(rows.array(name), mean.array(name)) for name in names)


def test_fewer_images_than_asked_for_are_all_of_them(subject: Subject) -> None:
    network, values, labels = subject
    some, most = (
        collect(network, ["x2"], values, labels, images=count) for count in (COUNT, 10 * COUNT)
    )
    assert torch.equal(some.array("x2"), most.array("x2"))
    first = collect(network, ["x2"], values, labels, images=2)
    assert torch.equal(
        first.array("x2"), collect(network, ["x2"], values[:2], labels[:2]).array("x2")
    )


def test_what_needs_images_is_refused_without(subject: Subject) -> None:
    network, _, _ = subject
    for name in set(INPUTS) - set(FREE):
        with pytest.raises(EmqError, match="images") as refused:
            collect_statistics(network, [name], parse_bits("2"))
        assert refused.value.diagnostics[0].code == "E303" and "noise" in str(
            refused.value.diagnostics[0].help
        )
    assert set(collect_statistics(network, FREE, parse_bits("2")).arrays) == set(FREE)


REFUSED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "larger images": (
        "E304",
        "the inputs of batch 0 of these are 3x2x7x7, and the network takes Nx2x5x5",
        {"values": torch.randn(3, 2, 7, 7)},
    ),
    "more channels": ("E304", "are 3x3x5x5", {"values": torch.randn(3, 3, 5, 5)}),
    "images that are no numbers": (
        "E304",
        "not finite",
        {"values": torch.full((3, *SHAPE), torch.nan)},
    ),
    "another precision": (
        "E304",
        "are torch.float64, and the network takes torch.float32",
        {"values": torch.randn(3, *SHAPE).double()},
    ),
    "no labels": ("E304", "no labels", {"labels": None}),
    "labels of other classes": (
        "E304",
        "leave the classes, 0 to",
        {"labels": torch.tensor([0, 1, 9])},
    ),
    "too few labels": ("E304", "labels", {"labels": torch.tensor([0, 1])}),
    "an unknown loss": ("E403", "no loss 'lable'", {"loss": "lable"}),
    "no images asked for": ("E403", "1 image or more", {"images": 0}),
    "less than none": ("E403", "1 image or more", {"images": -1}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_do_is_refused(subject: Subject, what: str) -> None:
    code, message, changes = REFUSED[what]
    given = {"values": subject[1][:3], "labels": subject[2][:3], **changes}
    with pytest.raises(EmqError) as refused:
        collect(subject[0], ["grad"], **given)
    assert (
        refused.value.diagnostics[0].code == code
        and message in refused.value.diagnostics[0].message
    )


def test_missing_labels_are_said_before_anything_is_measured(subject: Subject) -> None:
    steps: list[str] = []
    images = subject[1][:3]
    data = Dataset("bare", "", 0, False, lambda: iter([(images, None)]))
    with pytest.raises(EmqError, match="the data has no labels"):
        collect_statistics(
            subject[0],
            ["qerr", "grad"],
            parse_bits("2"),
            data,
            progress=lambda what, *_: steps.append(what),
        )
    assert not steps


def test_data_without_images_is_refused(subject: Subject) -> None:
    with pytest.raises(EmqError, match="nothing has no images"):
        collect_statistics(
            subject[0], ["x2"], parse_bits("2"), Dataset("nothing", "", 0, False, lambda: iter(()))
        )


def test_a_layer_of_one_weight_and_one_of_equal_weights() -> None:
    """Their weights lie on the grid, whatever the bits; nothing else about them is special."""
    network = prepare(seeded(Tiny), inputs(Tiny, 2))
    found = collect(
        network,
        ["qerr", "w", "fisher", "grad_synflow"],
        inputs(Tiny, 5),
        None,
        loss="self",
        menu="1,2",
    )
    assert not found.array("qerr").any()
    assert found.array("w")[1:].tolist() == [0.25] * 3 and found.array("fisher").gt(0).all()
    assert found.array("grad_synflow").tolist() == pytest.approx(
        [0.75, *[abs(float(found.array("w")[0]))] * 3]
    )


def test_folded_networks_show_their_folded_weights() -> None:
    network = prepare(seeded(Chain), inputs(Chain, 2))
    (first, *_) = layer_values(collect_statistics(network, ["w", "qerr"], parse_bits("3")), "qerr")
    rows = network.collection.layers[0].rows(network.module.get_submodule("body.0").weight.detach())  # type: ignore[arg-type]
    grid = WeightQuantizer().fit(rows, 3)
    torch.testing.assert_close(first[0].view_as(rows), grid.values(grid.codes(rows)) - rows)


def test_collecting_leaves_the_network_as_it_was(subject: Subject) -> None:
    network, values, labels = subject
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    collect(network, EVERYTHING, values, labels, hessian_samples=2)
    collect(network, EVERYTHING, values, labels, "W2A4", hessian_samples=2)
    assert all(
        torch.equal(before[name], value) for name, value in network.module.state_dict().items()
    )
    assert all(
        parameter.grad is None and parameter.requires_grad
        for parameter in network.module.parameters()
    )
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in network.module.modules()
    )
    assert not network.module.training


def test_an_input_that_the_network_writes_to_is_a_copy() -> None:
    """A network that normalises in place has the statistics of the one that does not."""

    class Normalised(nn.Module):
        def __init__(self, in_place: bool) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.Linear(8, 3))
            self.in_place = in_place

        def forward(self, x: Tensor) -> Any:
            return self.net(x.sub_(0.3).div_(0.5) if self.in_place else (x - 0.3) / 0.5)

    values, labels = torch.randn(8, 6), torch.randint(0, 3, (8,))
    before = values.clone()
    proxies = ["mean(hess)", "hess_trace", "orm", "act_qerr", "out_mse + kl + loss_inc"]
    tables = [
        emq.score(proxies, emq.collect(Normalised(in_place), [(values, labels)], images=8))
        for in_place in (False, True)
    ]
    assert torch.equal(values, before), "the user's own tensor"
    for one, other in zip(*tables, strict=True):
        assert (one.values == other.values).all()


def test_classes_of_tokens_are_the_last_axis() -> None:
    """Outputs (N, T, C): labels (N, T) and drawn ones are of C classes, not of T."""
    torch.manual_seed(0)
    net, values = nn.Sequential(nn.Linear(8, 5)), torch.randn(8, 7, 8)
    labels = torch.randint(0, 5, (8, 7))
    table = emq.score("-mean(grad ** 2)", emq.collect(net, [(values, labels)], images=8))
    loss = nn.functional.cross_entropy(net(values).flatten(0, 1), labels.flatten())
    (grad,) = torch.autograd.grad(loss, [net[0].weight])
    assert table.q[0] == pytest.approx(-float(grad.square().mean()), rel=1e-5)
    drawn = emq.score("fisher_error", emq.collect(net, [values], loss="self", images=8))
    assert (drawn.scores < 0).all()
