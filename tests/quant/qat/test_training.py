"""Training: it begins as the quantized network, is the same after an interruption, and improves."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import Chain, Sequence1d, Shared, seeded
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.data.datasets import Dataset
from emqlang.quant.networks.network import Network, prepare
from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.quantized import Quantized, identity, load_quantized
from emqlang.quant.ptq.recipe import LayerRecipe, Procedure, Recipe, uniform
from emqlang.quant.qat import trainer
from emqlang.quant.qat.fake_quantized import FakeQuantized
from emqlang.quant.qat.job import Job
from emqlang.quant.qat.schedule import Settings
from emqlang.quant.qat.trainer import Trained, Trainer

SHAPES = {Chain: (4, 8, 8), Sequence1d: (3, 16), Shared: (4, 8, 8)}
SETTINGS = Settings(epochs=2, rate=0.01, batch=16)
CPU = torch.device("cpu")


def batches(shape: tuple[int, ...], count: int = 96, classes: int = 3) -> list[Any]:
    drawn = torch.Generator().manual_seed(7)
    images = torch.randn(count, *shape, generator=drawn)
    return [(images, (images.flatten(1).sum(1) > 0).long() + (images.flatten(1)[:, 0] > 1).long())]


def dataset(data: Iterable[Any]) -> Dataset:
    return Dataset("images", "images", None, False, lambda: iter(data))


def network_of(kind: type[nn.Module]) -> Network:
    return prepare(seeded(kind), torch.zeros(2, *SHAPES[kind]))


def quantized_of(
    network: Network, data: list[Any], bits: int = 3, rounding: str = "nearest"
) -> Quantized:
    names = [layer.name for layer in network.collection.layers]
    recipe = uniform(identity(network), names, bits, 8)
    return quantize(network, recipe, data, Procedure(rounding, 64, 20))


def trained(
    network: Network, start: Quantized, data: list[Any], settings: Settings = SETTINGS, **how: Any
) -> Trained:
    return Job.of(network, dataset(data), settings, how.pop("loss", None)).run(start, **how)


@pytest.fixture(scope="module")
def chain() -> tuple[Network, Quantized, list[Any]]:
    network, data = network_of(Chain), batches(SHAPES[Chain])
    return network, quantized_of(network, data), data


def outputs(quantized: Quantized, images: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = quantized.module(images)
    return found


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("rounding", ["nearest", "adaround"])
def test_the_first_forward_is_the_quantized_networks(kind: type[nn.Module], rounding: str) -> None:
    """Grouped, depthwise and transposed convolutions, linear layers, weights that are shared."""
    network, data = network_of(kind), batches(SHAPES[kind])
    start = quantized_of(network, data, 2 + (rounding == "nearest"), rounding)
    student = FakeQuantized(network, start, CPU)
    with torch.no_grad():
        assert torch.equal(student(data[0][0]), outputs(start, data[0][0]))
    again = student.quantized(start.recipe)
    assert torch.equal(outputs(again, data[0][0]), outputs(start, data[0][0]))
    assert all(torch.equal(w.codes, start.weights[n].codes) for n, w in again.weights.items())


@pytest.mark.parametrize("kind", SHAPES)
def test_every_parameter_is_trained_but_frozen_norms(kind: type[nn.Module]) -> None:
    network, data = network_of(kind), batches(SHAPES[kind])
    student = FakeQuantized(network, quantized_of(network, data), CPU)
    student(data[0]).square().mean().backward()
    parameters = student.parameters()
    assert all(each.grad is not None for each in parameters.values())
    weights = {name for name in parameters if name.startswith("weight:")}
    assert len(weights) == len(network.collection.layers)
    norms = {f"other:{name}." for name in network.unfolded}
    assert not [name for name in parameters if name.startswith(tuple(norms or {"none"}))]


def test_what_is_evaluated_is_what_was_trained(
    chain: tuple[Network, Quantized, list[Any]], tmp_path: Path
) -> None:
    network, start, data = chain
    done = trained(network, start, data)
    assert not torch.equal(outputs(done.quantized, data[0][0]), outputs(start, data[0][0]))
    done.quantized.save(tmp_path)
    loaded = load_quantized(tmp_path, network)
    assert torch.equal(outputs(loaded, data[0][0]), outputs(done.quantized, data[0][0]))
    again = trained(network, loaded, data, replace(SETTINGS, epochs=1))
    assert [each.epochs for each in again.quantized.recipe.training] == [2, 1]  # type: ignore[union-attr]


def test_training_lowers_the_loss_and_the_best_epoch_is_kept(
    chain: tuple[Network, Quantized, list[Any]],
) -> None:
    network, start, data = chain
    done = trained(network, start, data, replace(SETTINGS, epochs=6, rate=0.05))
    course = done.course
    assert course.losses[-1] < 0.9 * course.losses[0] and len(course.validation) == 7
    assert not [each for each in course.validation if each.beats(course.validation[course.best])]
    assert done.split.training.places and not set(done.split.training.places) & set(
        done.split.validation.places
    )


@pytest.mark.parametrize("norms", ["freeze", "train"])
def test_a_run_that_is_cut_anywhere_ends_as_if_it_was_not(
    chain: tuple[Network, Quantized, list[Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    norms: str,
) -> None:
    network, start, data = chain
    settings = replace(SETTINGS, epochs=3, norms=norms)
    job = Job.of(network, dataset(data), settings)
    whole = job.run(start).quantized
    monkeypatch.setattr(trainer, "SAVE_EVERY", 0.0)
    step, draw, notes = Trainer._step, random.Random(0), list[str]()
    for _ in range(4):
        left = draw.randrange(1, 7)

        def cut(self: Trainer, *rest: Any) -> float:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            return step(self, *rest)

        monkeypatch.setattr(Trainer, "_step", cut)
        with pytest.raises(KeyboardInterrupt):
            job.run(start, job.kept(start, tmp_path, notes.append))
    monkeypatch.setattr(Trainer, "_step", step)
    kept = job.kept(start, tmp_path, notes.append)
    again = job.run(start, kept).quantized
    assert len(notes) == 4 and all("going on from" in note for note in notes)
    ours, theirs = again.stored(), whole.stored()
    assert ours[1] == theirs[1] and ours[0].keys() == theirs[0].keys()
    assert all(torch.equal(ours[0][name], theirs[0][name]) for name in theirs[0])
    kept.finish(again)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "recipe.json"]


def test_what_other_settings_learned_is_set_aside(
    chain: tuple[Network, Quantized, list[Any]], tmp_path: Path
) -> None:
    network, start, data = chain
    notes: list[str] = []
    for rate in (0.01, 0.02):
        job = Job.of(network, dataset(data), replace(SETTINGS, rate=rate))
        job.run(start, job.kept(start, tmp_path, notes.append))
    assert len(notes) == 1 and "is not used" in notes[0]


def test_a_rate_that_diverges_is_noticed(chain: tuple[Network, Quantized, list[Any]]) -> None:
    network, start, data = chain
    with pytest.raises(EmqError) as failed:
        trained(network, start, data, replace(SETTINGS, rate=1e6, epochs=20))
    (found,) = failed.value.diagnostics
    assert found.code == "E320" and "diverges" in found.message and "1e+06" in found.help[0]


def test_without_labels_there_is_distillation_or_nothing(
    chain: tuple[Network, Quantized, list[Any]],
) -> None:
    network, start, data = chain
    images = [batch[0] for batch in data]
    for settings in (SETTINGS, replace(SETTINGS, distill=0.5)):
        with pytest.raises(EmqError, match="no labels"):
            trained(network, start, images, settings)
    done = trained(network, start, images, replace(SETTINGS, distill=1.0, epochs=4, rate=0.02))
    scores = done.course.validation
    assert scores[0].accuracy is None and scores[done.course.best].loss < scores[0].loss


def test_a_loss_of_ones_own_needs_no_labels(chain: tuple[Network, Quantized, list[Any]]) -> None:
    network, start, data = chain

    def small(outputs: Tensor, batch: Any) -> Tensor:
        return outputs.square().mean(1)

    images = [batch[0] for batch in data]
    done = trained(network, start, images, replace(SETTINGS, epochs=4), loss=small)
    assert done.course.losses[-1] < done.course.losses[0]


def test_a_layer_in_float_is_trained_in_float(
    chain: tuple[Network, Quantized, list[Any]],
) -> None:
    network, start, data = chain
    recipe: Recipe = start.recipe
    layers = {**recipe.layers, "head": LayerRecipe(None, None)}
    plain = replace_layers(recipe, layers)
    begun = quantize(network, plain, data, Procedure(images=64))
    done = trained(network, begun, data).quantized
    before, after = (each.module.get_submodule("head").weight for each in (begun, done))
    assert "head" not in done.weights and not torch.equal(before, after)  # type: ignore[arg-type]


def replace_layers(recipe: Recipe, layers: Any) -> Recipe:
    from msgspec.structs import replace

    return replace(recipe, layers=layers)


def test_batch_norms_are_put_back_without_an_effect_and_folded_without_one(
    chain: tuple[Network, Quantized, list[Any]],
) -> None:
    network, start, data = chain
    student = FakeQuantized(network, start, CPU)
    student.train_norms(data)
    assert len(student.norms) == 5
    with torch.no_grad():
        put_back = student(data[0])
        torch.testing.assert_close(put_back, outputs(start, data[0][0]), rtol=1e-4, atol=1e-4)
        for number, norm in enumerate(student.norms.values()):
            norm.scale.mul_(torch.tensor(1.1))
            norm.scale[number % 2] *= -1  # its codes are mirrored
            norm.mean += 0.05
        moved = student(data[0])
    assert not torch.allclose(moved, put_back, atol=1e-3)
    folded = student.quantized(start.recipe)
    torch.testing.assert_close(outputs(folded, data[0][0]), moved, rtol=1e-3, atol=2e-2)
    assert all((weight.grid.scale > 0).all() for weight in folded.weights.values())


def test_batch_norms_are_trained(chain: tuple[Network, Quantized, list[Any]]) -> None:
    network, start, data = chain
    done = trained(network, start, data, replace(SETTINGS, norms="train", epochs=3, rate=0.02))
    assert done.course.losses[-1] < done.course.losses[0]
    assert done.folding is not None and done.folding < 0.05 and not done.diagnostics
    bad = replace(done, folding=0.2)
    assert [each.code for each in bad.diagnostics] == ["W620"]


@pytest.mark.parametrize(
    "given",
    [
        {"epochs": 0},
        {"epochs": 1.5},
        {"rate": 0},
        {"rate": float("nan")},
        {"batch": True},
        {"distill": 1.5},
        {"temperature": -1},
        {"norms": "melt"},
    ],
)
def test_settings_that_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(EmqError) as refused:
        Settings(**given)
    assert refused.value.diagnostics[0].code == "E403"
