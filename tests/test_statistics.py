"""Every statistic against a direct computation of its definition, in the plainest way there is."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from measured import COUNT, collect, data_of, labelled, layer_values, loss_of, of_kind, small
from networks import Chain, PreActivation, Sequence1d, Shared, Subclasses, ViT
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.inputs import INPUTS
from emqlang.quant.menu import parse_bits, parse_menu
from emqlang.quant.network import Network
from emqlang.quant.quantizer import fit
from emqlang.quant.statistics import OBSERVERS, PASSES, collect_statistics

SHAPE = (2, 5, 5)


@pytest.fixture(scope="module")
def subject() -> tuple[Network, Tensor, Tensor]:
    return labelled(small(), SHAPE)


def outputs_of(network: Network, values: Tensor) -> list[Tensor]:
    """What every layer puts out, with gradients kept."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, args: object, output: Tensor) -> None:
        output.retain_grad()
        seen.append(output)

    handles = [layer.module.register_forward_hook(keep) for layer in network.collection.layers]
    network.module(values)
    for handle in handles:
        handle.remove()
    return seen


def test_every_row_of_the_input_table_is_collected_once() -> None:
    named = [name for part in PASSES for name in part.names]
    assert sorted(named) == sorted(INPUTS) and set(OBSERVERS) <= set(INPUTS)


def test_only_what_is_asked_for_is_there(subject: tuple[Network, Tensor, Tensor]) -> None:
    assert set(collect(subject[0], ["w", "fisher"], *subject[1:]).arrays) == {"w", "fisher"}


def test_shape_facts(subject: tuple[Network, Tensor, Tensor]) -> None:
    names = ["numel", "act_numel", "fan_in", "channels_in", "channels_out", "macs", "depth"]
    found = collect(subject[0], names, *subject[1:])
    assert {name: found.array(name).tolist() for name in names} == {
        "numel": [24, 48, 12], "act_numel": [48, 36, 3], "fan_in": [8, 12, 4], "channels_in": [2, 3, 4],
        "channels_out": [3, 4, 3], "macs": [8 * 48, 12 * 36, 12], "depth": [0, 1, 2],
    }  # fmt: skip


def test_the_gradient_and_fisher_by_a_loop_over_images(subject: tuple[Network, Tensor, Tensor]) -> None:
    network, values, labels = subject
    found = collect(network, ["grad", "fisher"], values, labels)
    weights = [layer.weight for layer in network.collection.layers]
    each = [torch.autograd.grad(loss_of(network, values[i : i + 1], labels[i : i + 1]), weights) for i in range(COUNT)]
    for layer, (grad, fisher) in enumerate(zip(layer_values(found, "grad"), layer_values(found, "fisher"), strict=True)):
        slopes = torch.stack([slope[layer].flatten() for slope in each])
        torch.testing.assert_close(grad, slopes.mean(0), rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(fisher, slopes.square().mean(0), rtol=1e-4, atol=1e-9)


def test_x2_by_unfolding(subject: tuple[Network, Tensor, Tensor]) -> None:
    network, values, labels = subject
    first, second, head = layer_values(collect(network, ["x2"], values, labels), "x2")
    meets = F.unfold(values.square(), 2).mean((0, 2))  # (fan_in,)
    torch.testing.assert_close(first.view(3, 8), meets.expand(3, 8), rtol=1e-5, atol=1e-8)
    module = network.module
    hidden = torch.tanh(module.first(values))
    torch.testing.assert_close(second.view(4, 12)[0], F.unfold(hidden.square(), 2).mean((0, 2)), rtol=1e-5, atol=1e-8)
    pooled = torch.tanh(module.second(hidden)).mean((2, 3))
    torch.testing.assert_close(head.view(3, 4)[2], pooled.square().mean(0), rtol=1e-5, atol=1e-8)


def exact_hessian(network: Network, values: Tensor, labels: Tensor) -> list[Tensor]:
    """Each layer's own block of the Hessian of the mean loss."""
    blocks = []
    for layer in network.collection.layers:

        def loss(flat: Tensor, layer: object = layer) -> Tensor:
            name = f"{layer.name}.weight"  # type: ignore[attr-defined]
            shaped = flat.view(layer.shape)  # type: ignore[attr-defined]
            return F.cross_entropy(torch.func.functional_call(network.module, {name: shaped}, (values,)), labels)

        blocks.append(torch.autograd.functional.hessian(loss, layer.weight.detach().flatten()))
    return blocks


def test_hessian_traces_are_exact_within_their_stated_errors(subject: tuple[Network, Tensor, Tensor]) -> None:
    network, values, labels = subject
    exact = torch.tensor([float(block.trace()) for block in exact_hessian(network, values, labels)], dtype=torch.float64)
    deviations = []
    for seed in range(12):
        found = collect(network, ["hess", "hess_trace"], values, labels, seed=seed, hessian_samples=64)
        sums = torch.stack([part.sum() for part in layer_values(found, "hess")])
        torch.testing.assert_close(sums.double(), found.array("hess_trace"), rtol=1e-3, atol=1e-5)
        deviations.append((found.array("hess_trace") - exact) / found.errors["hess_trace"])
    scores = torch.stack(deviations)
    assert scores.abs().max() < 4.5 and 0.5 < scores.std() < 1.6, "the standard error says how far the estimate is off"


def test_the_hessians_diagonal_comes_nearer_with_more_probes(subject: tuple[Network, Tensor, Tensor]) -> None:
    network, values, labels = subject
    exact = torch.cat([block.diagonal() for block in exact_hessian(network, values, labels)])

    def error(samples: int, seed: int) -> float:
        return float(
            (collect(network, ["hess"], values, labels, hessian_samples=samples, seed=seed).array("hess") - exact).norm()
        )

    few, many = (sum(error(samples, seed) for seed in range(4)) for samples in (16, 256))
    assert 2.5 < few / many < 6, "four times less with sixteen times more"


def test_the_top_eigenvalue_of_each_block(subject: tuple[Network, Tensor, Tensor]) -> None:
    network, values, labels = subject
    found = collect(network, ["hess_eig"], values, labels).array("hess_eig")
    for value, block in zip(found.tolist(), exact_hessian(network, values, labels), strict=True):
        spectrum = torch.linalg.eigvalsh(block.double())
        assert value == pytest.approx(float(spectrum[spectrum.abs().argmax()]), rel=1e-2)


def test_activations_and_their_statistics(subject: tuple[Network, Tensor, Tensor]) -> None:
    network, values, labels = subject
    found = collect(network, ["act", "grad_act", "act_var", "fisher_act"], values, labels)
    seen = outputs_of(network, values)
    for layer, (a, b) in enumerate(zip(found.offsets["activation"], found.offsets["activation"][1:], strict=False)):
        everything = seen[layer].detach().flatten()
        sample = found.array("act")[a:b]
        assert found.totals["activation"][layer] == len(everything) and len(sample) == min(65_536, len(everything))
        torch.testing.assert_close(sample.sort().values, everything.sort().values, rtol=1e-5, atol=1e-6)
        assert float(found.array("act_var")[layer]) == pytest.approx(float(everything.double().var(correction=0)), rel=1e-4)
    fisher = torch.zeros(3, dtype=torch.float64)
    slopes: list[list[Tensor]] = [[], [], []]
    for i in range(COUNT):
        seen = outputs_of(network, values[i : i + 1])
        grads = torch.autograd.grad(F.cross_entropy(seen[-1], labels[i : i + 1]), seen)
        for layer, (act, grad) in enumerate(zip(seen, grads, strict=True)):
            met = (act * grad).flatten(2).sum(2) if act.ndim == 4 else act * grad
            fisher[layer] += met.detach().double().square().sum() / COUNT
            slopes[layer].append(grad.flatten())
    torch.testing.assert_close(found.array("fisher_act"), fisher, rtol=1e-4, atol=1e-10)
    for layer, (a, b) in enumerate(zip(found.offsets["activation"], found.offsets["activation"][1:], strict=False)):
        whole = torch.cat(slopes[layer]) / COUNT  # of the mean loss
        torch.testing.assert_close(found.array("grad_act")[a:b].sort().values, whole.sort().values, rtol=1e-4, atol=1e-7)


def test_orm_is_the_sum_of_linear_cka(subject: tuple[Network, Tensor, Tensor]) -> None:
    network, values, labels = subject
    found = collect(network, ["orm"], values, labels).array("orm")
    features = [seen.detach().double().flatten(1) for seen in outputs_of(network, values)]
    features = [x - x.mean(0) for x in features]

    def cka(x: Tensor, y: Tensor) -> float:
        return float((x.T @ y).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm()))

    expected = [sum(cka(x, y) for j, y in enumerate(features) if j != i) for i, x in enumerate(features)]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_qerr_is_quantized_minus_original(subject: tuple[Network, Tensor, Tensor]) -> None:
    network, values, labels = subject
    found = collect(network, ["qerr", "w"], values, labels, bits="2,4")
    for row, bits in enumerate((2, 4)):
        for layer, part in zip(network.collection.layers, layer_values(found, "qerr"), strict=True):
            rows = layer.rows(layer.weight.detach())
            grid = fit(rows, bits)
            torch.testing.assert_close(part[row], (grid.values(grid.codes(rows)) - rows).flatten())


def quantized_copy(network: Network, index: int, bits: int) -> nn.Module:
    copy = deepcopy(network.module)
    layer = network.collection.layers[index]
    rows = layer.rows(layer.weight.detach())
    grid = fit(rows, bits)
    with torch.no_grad():
        copy.get_submodule(layer.name).weight.copy_(layer.unrows(grid.values(grid.codes(rows))))  # type: ignore[union-attr]
    return copy


def test_what_one_quantized_group_does_to_the_network(subject: tuple[Network, Tensor, Tensor]) -> None:
    network, values, labels = subject
    found = collect(network, ["out_mse", "kl", "loss_inc"], values, labels, bits="2,3")
    plain = network.module(values).detach()
    for row, bits in enumerate((2, 3)):
        for index, layer in enumerate(network.collection.layers):
            copy = quantized_copy(network, index, bits)
            logits = copy(values).detach()
            divergence = F.kl_div(logits.log_softmax(1), plain.log_softmax(1), log_target=True, reduction="batchmean")
            rise = F.cross_entropy(logits, labels) - F.cross_entropy(plain, labels)
            own = outputs_of(network, values)[index].detach()
            seen: list[Tensor] = []
            hook = copy.get_submodule(layer.name).register_forward_hook(lambda m, a, out, seen=seen: seen.append(out))
            copy(values)
            hook.remove()
            noise = (seen[0].detach() - own).square().sum() / own.square().sum()
            assert float(found.array("kl")[row, index]) == pytest.approx(float(divergence), rel=1e-3, abs=1e-7)
            assert float(found.array("loss_inc")[row, index]) == pytest.approx(float(rise), rel=1e-3, abs=1e-6)
            assert float(found.array("out_mse")[row, index]) == pytest.approx(float(noise), rel=1e-3)


def test_act_qerr_falls_with_activation_bits(subject: tuple[Network, Tensor, Tensor]) -> None:

    from emqlang.quant.statistics import collect_statistics

    network, values, labels = subject
    menu = parse_menu("W4A2,W4A4,W4A8")
    found = collect_statistics(network, ["act_qerr"], menu, data_of(values, labels)).array("act_qerr")
    assert found.shape == (3, 3) and (found[:, 0] == found[0, 0]).all(), "the network's own input has 8 bits"
    assert (found[0, 1:] > found[1, 1:]).all() and (found[1, 1:] > found[2, 1:]).all()


EVERYTHING = [name for name in INPUTS if name not in ("hess_eig",)]


@pytest.mark.parametrize("kind", [Chain, Sequence1d, PreActivation, Shared, Subclasses, ViT])
def test_every_statistic_of_every_network_is_finite(kind: type[nn.Module]) -> None:
    network, found = of_kind(kind, EVERYTHING, hessian_samples=2)
    for name in EVERYTHING:
        values = found.array(name)
        assert values.isfinite().all(), name
        assert len(found.layers) == len(network.collection.layers) == len(found.offsets["weight"]) - 1
        if "-" not in INPUTS[name].unit and INPUTS[name].sign == 6:
            assert (values >= 0).all(), name


def test_the_same_seed_gives_the_same_values(subject: tuple[Network, Tensor, Tensor]) -> None:
    """Bit for bit for any number of threads; Hessian products, whose sums torch splits among threads, to rounding."""
    network, values, labels = subject
    exact, rounded = ["grad", "fisher", "x2", "act", "grad_act", "act_var", "fisher_act", "qerr", "orm"], ["hess", "hess_eig"]
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(collect(network, exact + rounded, values, labels, seed=3))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(found[0].array(name), found[1].array(name)) for name in exact)
    for name in rounded:
        torch.testing.assert_close(found[0].array(name), found[1].array(name), rtol=1e-4, atol=1e-6)
    assert not torch.equal(found[0].array("hess"), collect(network, ["hess"], values, labels, seed=4).array("hess"))


def test_the_labels_may_be_the_networks_own(subject: tuple[Network, Tensor, Tensor]) -> None:
    network, values, _ = subject
    assert collect(network, ["grad"], values, None, loss="self").array("grad").abs().max() > 0
    with pytest.raises(EmqError, match="no labels"):
        collect(network, ["grad"], values, None)


def test_what_needs_images_is_refused_without() -> None:
    network, _, _ = labelled(small(), SHAPE)
    for name, row in INPUTS.items():
        if row.needs_data:
            with pytest.raises(EmqError, match="images"):
                collect_statistics(network, [name], parse_bits("2"))
    free = [name for name, row in INPUTS.items() if not row.needs_data]
    assert set(collect_statistics(network, free, parse_bits("2")).arrays) == set(free)


def test_collecting_leaves_the_network_as_it_was(subject: tuple[Network, Tensor, Tensor]) -> None:
    network, values, labels = subject
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    collect(network, EVERYTHING, values, labels, hessian_samples=2)
    assert all(torch.equal(before[name], value) for name, value in network.module.state_dict().items())
    assert all(parameter.grad is None for parameter in network.module.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.module.modules())
