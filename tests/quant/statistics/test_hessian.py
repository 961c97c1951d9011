"""Hessian statistics against the exact Hessian of a small network."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from measured import collect, data_of, labelled, layer_values, small
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.bits.menu import parse_bits
from emqlang.quant.networks.layers import Layer
from emqlang.quant.networks.network import Network
from emqlang.quant.statistics import hessian
from emqlang.quant.statistics.collect import collect_statistics
from emqlang.quant.statistics.options import StatisticsOptions

Subject = tuple[Network, Tensor, Tensor]


@pytest.fixture(scope="module")
def subject() -> Subject:
    return labelled(small(), (2, 5, 5))


@pytest.fixture(scope="module")
def exact(subject: Subject) -> list[Tensor]:
    """Each layer's own block of the Hessian of the mean loss, in float64."""
    network, values, labels = subject
    module = network.module.double()
    blocks = []
    for layer in network.collection.layers:

        def loss(flat: Tensor, layer: Layer = layer) -> Tensor:
            weights = {f"{layer.name}.weight": flat.view(layer.shape)}
            return F.cross_entropy(
                torch.func.functional_call(module, weights, (values.double(),)), labels
            )

        found = torch.autograd.functional.hessian(loss, layer.weight.detach().flatten())
        assert isinstance(found, Tensor)
        blocks.append(found)
    module.float()
    return blocks


def test_traces_are_exact_within_their_stated_errors(subject: Subject, exact: list[Tensor]) -> None:
    network, values, labels = subject
    wanted = torch.stack([block.trace() for block in exact])
    deviations = []
    for seed in range(12):
        found = collect(
            network, ["hess", "hess_trace"], values, labels, seed=seed, hessian_samples=64
        )
        sums = torch.stack([part.sum() for part in layer_values(found, "hess")])
        torch.testing.assert_close(sums.double(), found.array("hess_trace"), rtol=1e-3, atol=1e-5)
        deviations.append((found.array("hess_trace") - wanted) / found.errors["hess_trace"])
    scores = torch.stack(deviations)
    assert scores.abs().max() < 4.5 and 0.5 < scores.std() < 1.6, (
        "the standard error says how far the estimate is off"
    )


def test_the_diagonal_comes_nearer_with_more_probes(subject: Subject, exact: list[Tensor]) -> None:
    network, values, labels = subject
    wanted = torch.cat([block.diagonal() for block in exact])

    def error(samples: int, seed: int) -> float:
        found = collect(network, ["hess"], values, labels, hessian_samples=samples, seed=seed)
        return float((found.array("hess") - wanted).norm())

    few, many = (sum(error(samples, seed) for seed in range(4)) for samples in (16, 256))
    assert 2.5 < few / many < 6, "four times less with sixteen times more"


def test_the_top_eigenvalue_of_each_block(subject: Subject, exact: list[Tensor]) -> None:
    network, values, labels = subject
    found = collect(network, ["hess_eig"], values, labels).array("hess_eig")
    for value, block in zip(found.tolist(), exact, strict=True):
        spectrum = torch.linalg.eigvalsh(block)
        assert value == pytest.approx(float(spectrum[spectrum.abs().argmax()]), rel=1e-2)


@pytest.mark.parametrize("name", ["hess", "hess_trace", "hess_eig"])
def test_how_the_images_are_batched_is_of_no_concern(
    subject: Subject, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, values, labels = subject
    together = collect(network, [name], values, labels).array(name)
    monkeypatch.setattr(hessian, "HELD", 2 * sum(network.collection.act_numel))
    torch.testing.assert_close(
        collect(network, [name], values, labels).array(name), together, rtol=1e-3, atol=1e-5
    )


def test_where_the_loss_has_no_curvature_it_is_zero() -> None:
    def loss(scores: Tensor, batch: object) -> Tensor:
        return scores.sum(1).mean()

    network, values, labels = labelled(nn.Sequential(nn.Linear(4, 3)), (4,))
    found = collect(network, ["hess", "hess_trace", "hess_eig"], values, labels, loss=loss)
    assert not any(found.array(name).any() for name in found.arrays)
    network, values, labels = labelled(
        nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), (4,)
    )
    assert not collect(network, ["hess_eig"], values, labels, loss=loss).array("hess_eig").any(), (
        "a block is a layer's own"
    )


def test_a_standard_error_takes_two_probes(subject: Subject) -> None:
    network, values, labels = subject
    with pytest.raises(EmqError, match="2 Hessian samples") as refused:
        collect(network, ["hess_trace"], values, labels, hessian_samples=1)
    assert refused.value.diagnostics[0].code == "E403"


@pytest.mark.parametrize("name", ["hess", "hess_eig"])
def test_progress_is_heard_of_long_before_the_first_step_is_whole(
    subject: Subject, name: str
) -> None:
    network, values, labels = subject
    heard: list[tuple[int, int]] = []
    collect_statistics(
        network,
        [name],
        parse_bits("2"),
        data_of(values, labels),
        StatisticsOptions(),
        lambda what, done, total: heard.append((done, total)) if what == name else None,
    )
    done = [each for each, _ in heard]
    assert done == sorted(done) and len({total for _, total in heard}) == 1
    assert done[0] <= heard[0][1] / 30 and done[-1] == heard[0][1]
