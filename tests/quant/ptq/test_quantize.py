"""Post-training quantization, end to end: bits, checkpoints, and what it must leave alone."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import networks
import pytest
import torch
from attention import Decoder, FusedViT
from msgspec.structs import replace
from safetensors import safe_open
from safetensors.torch import save_file
from subjects import KINDS, batches, inputs, quantized, ready, recipe_for
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant import sealed
from emqlang.quant.bits.costs import size
from emqlang.quant.bits.menu import Choice
from emqlang.quant.data.datasets import Dataset, load_data
from emqlang.quant.networks.network import Network, load, prepare
from emqlang.quant.networks.signature import Signature
from emqlang.quant.ptq.evaluate import evaluate
from emqlang.quant.ptq.packing import unpack
from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.quantized import Quantized, identity, load_quantized
from emqlang.quant.ptq.recipe import (
    LayerRecipe,
    Procedure,
    Recipe,
    input_scheme,
    parse_recipe,
    weight_scheme,
)
from emqlang.quant.ptq.rounding import Codes, Finished, RoundingProgress, Schedule

ROUNDINGS = ("nearest", "adaround", "brecq")


@pytest.fixture(scope="module")
def embedded() -> Network:
    return load("resnet18-fmnist")


def fashion(network: Network, split: Any, count: int) -> Dataset:
    assert network.spec is not None
    return load_data(
        "fashion-mnist", network.spec.images, network.classes, count=count, split=split
    )


def output(found: Quantized, x: Tensor) -> Tensor:
    with torch.no_grad():
        y: Tensor = found.module(x)
    return y


# every network, every rounding


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_network_gets_the_bits_that_were_asked_for(
    kind: type[nn.Module], rounding: str, tmp_path: Path
) -> None:
    network, data = ready(kind), batches(kind)
    recipe = recipe_for(network)
    widths = [2 + i % 4 for i in range(len(recipe.layers))]
    layers = {
        n: LayerRecipe(weight_scheme(bits), input_scheme(6))
        for n, bits in zip(recipe.layers, widths, strict=True)
    }
    found = quantize(
        network,
        replace(recipe, layers=layers),
        data,
        Procedure(rounding, images=32, iterations=10, bias_correction=True),
    )

    parts = dict(found.module.named_modules())
    for layer, row, bits in zip(network.collection.layers, found.report, widths, strict=True):
        weight = parts[layer.name].weight
        assert row.name == layer.name and row.weight_bits == bits and row.distinct <= 2**bits
        assert all(len(channel.unique()) <= 2**bits for channel in layer.rows(weight))
        torch.testing.assert_close(
            layer.rows(weight), found.weights[layer.name].values, rtol=0, atol=0
        )
    assert type(found.module) is type(network.module) and not found.module.training
    assert {row.input_bits for row in found.report} <= {6, 8}

    found.save(tmp_path / "net.safetensors")
    again = load_quantized(tmp_path / "net.safetensors", ready(kind))
    x = inputs(kind, 16, seed=9)
    assert torch.equal(output(again, x), output(found, x)) and again.recipe == found.recipe
    assert parse_recipe(found.recipe.as_json()) == found.recipe


@pytest.mark.parametrize("kind", KINDS)
def test_eight_bits_change_next_to_nothing(kind: type[nn.Module]) -> None:
    network, data = ready(kind), batches(kind)
    found = evaluate(quantized(network, data, bits=8).module, data, reference=network.module)
    assert found.agreement is not None and found.agreement > 0.9
    assert found.kl is not None and found.kl < 1e-3 and found.accuracy is None


def test_the_embedded_network_keeps_its_accuracy(embedded: Network, tmp_path: Path) -> None:
    shown, tested = fashion(embedded, "calibration", 128), fashion(embedded, "test", 1000)
    recipe = recipe_for(embedded, bits=3)
    found = quantize(
        embedded,
        recipe,
        shown,
        Procedure("brecq", images=128, iterations=30),
        schedule=Schedule(rate=1e-2),
    )
    before, after = (
        evaluate(module, tested, reference=embedded.module)
        for module in (embedded.module, found.module)
    )
    assert before.accuracy is not None and after.accuracy is not None and before.accuracy > 0.92
    assert after.accuracy > before.accuracy - 0.03 and after.basis == "labels of 1,000 images"
    found.save(tmp_path / "net.safetensors")
    assert (
        evaluate(
            load_quantized(tmp_path / "net.safetensors", embedded).module,
            tested,
            reference=embedded.module,
        )
        == after
    )


def test_tied_layers_and_tokens(tmp_path: Path) -> None:
    groups = [
        [network.collection.layers[i].name for i in group.layers]
        for network in (ready(FusedViT),)
        for group in network.collection.groups
    ]
    assert ["blocks.0.attention.qkv", "blocks.0.attention.proj"] in groups
    found = quantized(ready(Decoder), batches(Decoder), bits=2)
    parts = dict(found.module.named_modules())
    assert parts["embedding"].weight is parts["head"].weight, (
        "one parameter, so the embedding has the head's bits"
    )
    texts = batches(Decoder)
    labels = [torch.cat([text[:, 1:], torch.full((len(text), 1), -100)], 1) for text in texts]
    scored = evaluate(found.module, list(zip(texts, labels, strict=True)))
    assert scored.predictions == 2 * 16 * 5 and scored.images == 32


def test_layers_may_stay_in_float() -> None:
    network, data = ready(networks.Chain), batches(networks.Chain)
    recipe = recipe_for(network)
    layers = {
        **recipe.layers,
        "head": LayerRecipe(None, None),
        "body.0": LayerRecipe(None, input_scheme(4)),
    }
    found = quantize(network, replace(recipe, layers=layers), data, Procedure(images=32))
    rows = {row.name: row for row in found.report}
    assert torch.equal(
        found.module.get_submodule("head").weight, network.module.get_submodule("head").weight
    )  # type: ignore[arg-type]
    assert rows["head"].weight_bits is rows["head"].input_bits is None and rows[
        "head"
    ].weight_sqnr == float("inf")
    assert rows["body.0"].weight_bits is None and rows["body.0"].input_bits == 8, (
        "the network's own input has 8 bits"
    )
    assert "head" not in found.weights and all(
        "head" not in site.layers for site, _ in found.inputs
    )


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_constant_channels_are_exact(rounding: str) -> None:
    module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(4 * 4, 3))
    constants = [0.0, 0.3, -1.7]
    with torch.no_grad():
        for channel, value in enumerate(constants):
            module[0].weight[channel] = value
    data = [torch.randn(16, 2, 4, 4, generator=torch.Generator().manual_seed(0))]
    found = quantized(
        prepare(module.eval(), data[0]), data, bits=2, rounding=rounding, iterations=20
    )
    for channel, value in enumerate(constants):
        assert (found.module[0].weight[channel] == torch.tensor(value)).all()  # type: ignore[index]


def test_biases_are_corrected() -> None:
    network, data = ready(networks.Chain), batches(networks.Chain)
    plain, corrected = (
        quantized(network, data, bits=2, bias_correction=wanted) for wanted in (False, True)
    )
    with torch.no_grad():
        wanted = torch.cat([network.module(x) for x in data]).mean(0)
        shift, left = (
            torch.cat([found.module(x) for x in data]).mean(0) - wanted
            for found in (plain, corrected)
        )
    assert float(left.abs().max()) < 1e-5 and float(shift.abs().max()) > 1e-2
    assert all(row.distinct <= 4 for row in corrected.report)


def test_a_layer_without_a_bias_is_given_one(tmp_path: Path) -> None:
    network = prepare(nn.Sequential(nn.Linear(4, 3, bias=False)).eval(), torch.randn(2, 4))
    data = [torch.rand(32, 4, generator=torch.Generator().manual_seed(0))]
    found = quantized(network, data, bits=2, bias_correction=True)
    found.save(tmp_path / "net.safetensors")
    again = load_quantized(tmp_path / "net.safetensors", network)
    assert network.module[0].bias is None and again.module[0].bias is not None  # type: ignore[index]
    torch.testing.assert_close(
        output(again, data[0]).mean(0), network.module(data[0]).mean(0).detach()
    )


# what goes in


def test_data_may_come_as_it_likes() -> None:
    network, images = ready(networks.Chain), batches(networks.Chain)
    labels = torch.zeros(16, dtype=torch.int64)

    def stream() -> Iterator[Tensor]:
        yield from images

    forms: list[Any] = [
        images,
        stream(),
        [(x, labels) for x in images],
        [{"x": x, "labels": labels} for x in images],
        [torch.cat(images)],
    ]
    first, *others = (
        quantize(network, recipe_for(network), form, Procedure(images=32)) for form in forms
    )
    assert all(torch.equal(output(first, images[0]), output(other, images[0])) for other in others)
    assert first.recipe.procedure is not None and first.recipe.procedure.images == 32


def test_the_forward_may_be_the_users() -> None:
    network = ready(networks.Chain)
    data = [{"left": x, "right": 2 * x} for x in batches(networks.Chain)]
    signature = Signature(own=lambda model, batch: model(batch["right"] - batch["left"]))
    fed = dataclasses.replace(network, example=data[0], signature=signature)
    found = quantize(fed, recipe_for(network), data, Procedure(images=32))
    expected = quantized(network, [2 * x - x for x in batches(networks.Chain)])
    assert torch.equal(output(found, data[0]["left"]), output(expected, data[0]["left"]))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_may_be_off_outside(mode: Callable[[], Any]) -> None:
    network, data = ready(networks.PreActivation), batches(networks.PreActivation)
    settings: dict[str, Any] = {
        "rounding": "brecq",
        "iterations": 5,
        "fisher": True,
        "bias_correction": True,
    }
    expected = quantized(network, data, **settings)
    with mode():
        found = quantized(network, [x.clone() for x in data], **settings)
    assert torch.equal(output(found, data[0]), output(expected, data[0]))


def test_images_of_several_sizes_calibrate() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv1d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.fc(self.conv(x).mean(2))
            return y

    data = [torch.randn(8, 3, length) for length in (10, 14)]
    network = prepare(Pooled().eval(), data[0])
    for rounding in ROUNDINGS:
        assert quantized(
            network, data, rounding=rounding, iterations=5, bias_correction=True
        ).report


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused_before_the_work(
    rounding: str, value: float
) -> None:
    network, data = ready(networks.Chain), batches(networks.Chain)
    data[1][3, 0, 2, 2] = value
    reports: list[RoundingProgress] = []
    with pytest.raises(EmqError, match="not finite") as refused:
        quantized(network, data, rounding=rounding, iterations=200, progress=reports.append)
    assert refused.value.diagnostics[0].code == "E312" and all(
        progress.done == 0 for progress in reports
    )


class Gated(nn.Module):
    """A layer that only small batches reach. (N, 4)"""

    def __init__(self) -> None:
        super().__init__()
        self.always, self.seldom = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.always(x)
        return y if len(x) > 2 else y + self.seldom(x)


@pytest.mark.parametrize(
    ("change", "message", "code"),
    [
        (
            {"procedure": Procedure(images=33)},
            "33 images are asked for, and the data has 32",
            "E304",
        ),
        ({"procedure": Procedure(images=0)}, "the data has no images", "E304"),
        ({"data": []}, "32 images are asked for, and the data has 0", "E304"),
        ({"procedure": Procedure("neerest", images=32)}, "rounding 'neerest' is unknown", "E403"),
        ({"network": ready(networks.Shared)}, "the recipe is for Chain with weights", "E311"),
        (
            {"data": [torch.randn(32, 3, 8, 8)]},
            "the forward of Chain on an input of shape (8, 3, 8, 8) failed",
            "E308",
        ),
    ],
)
def test_what_cannot_be_done_says_so(change: dict[str, Any], message: str, code: str) -> None:
    network = ready(networks.Chain)
    given = {
        "network": network,
        "recipe": recipe_for(network),
        "data": batches(networks.Chain),
        "procedure": Procedure(images=32),
    }
    with pytest.raises(EmqError) as refused:
        quantize(**(given | change))
    (diagnostic,) = refused.value.diagnostics
    assert diagnostic.code == code and diagnostic.message.startswith(message)


def test_layers_that_no_image_reaches_are_named_and_keep_their_inputs(tmp_path: Path) -> None:
    network = prepare(Gated().eval(), torch.randn(2, 4))
    found = quantized(network, [torch.randn(16, 4)])
    (warning,) = found.diagnostics
    assert warning.code == "W615" and "no calibration image reaches 'seldom'" in warning.message
    entry = found.recipe.layers["seldom"]
    assert entry.weight is not None and entry.input is None
    assert found.module(torch.randn(2, 4)).isfinite().all()
    assert found.recipe.unreached == ("seldom",)
    found.save(tmp_path / "q")
    assert load_quantized(tmp_path / "q", network).diagnostics == (warning,)


# what is left alone, and what is the same every time


@pytest.mark.parametrize("kind", [networks.PreActivation, networks.ViT, Decoder])
def test_the_users_model_is_left_as_it_was(kind: type[nn.Module], tmp_path: Path) -> None:
    model = networks.seeded(kind).train()
    next(model.parameters()).requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    wanted, modules = (
        [p.requires_grad for p in model.parameters()],
        list(map(type, model.modules())),
    )
    data = batches(kind)
    random, kept = torch.get_rng_state(), [x.clone() for x in data]
    network = prepare(model, data[0])
    found = quantized(
        network,
        data,
        rounding="brecq",
        iterations=5,
        bias_correction=True,
        fisher=True,
    )
    evaluate(found.module, data, reference=network.module)
    found.save(tmp_path / "net.safetensors")
    load_quantized(tmp_path / "net.safetensors", network)

    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert (
        model.training
        and [p.requires_grad for p in model.parameters()] == wanted
        and list(map(type, model.modules())) == modules
    )
    assert all(p.grad is None for p in (*model.parameters(), *network.module.parameters()))
    assert not any(
        m._forward_hooks or m._forward_pre_hooks
        for net in (model, network.module)
        for m in net.modules()
    )
    assert (
        all(map(torch.equal, data, kept))
        and torch.equal(torch.get_rng_state(), random)
        and torch.is_grad_enabled()
    )


def test_the_same_seed_gives_the_same_network() -> None:
    network, data = ready(networks.PreActivation), batches(networks.PreActivation)
    procedure, schedule = Procedure("brecq", images=32, iterations=30), Schedule(rate=0.1)
    first, same, other = (
        quantize(
            network,
            replace(recipe_for(network, 2), seed=seed),
            data,
            procedure,
            schedule=schedule,
        )
        for seed in (0, 0, 1)
    )

    def codes(found: Quantized) -> list[Tensor]:
        return [weight.codes for weight in found.weights.values()]

    assert all(map(torch.equal, codes(first), codes(same))) and first.inputs == same.inputs
    assert not all(map(torch.equal, codes(first), codes(other)))


def test_an_interrupted_run_goes_on_where_it_was() -> None:
    """Ctrl-C in the third unit of four: the next run keeps two, and makes the same network."""
    network, data = ready(networks.PreActivation), batches(networks.PreActivation)
    settings: dict[str, Any] = {
        "rounding": "adaround",
        "iterations": 100,
        "schedule": Schedule(rate=1e-2),
    }
    whole = quantized(network, data, **settings)

    class Noted(Finished):
        units: ClassVar[list[int]] = []

        def save(self, codes: Codes) -> None:
            super().save(codes)
            self.units.append(len(codes))

    kept = Noted()

    def interrupt(progress: RoundingProgress) -> None:
        if progress.done == 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantized(
            network,
            data,
            **settings,
            progress=interrupt,
            finished=kept,
        )
    assert kept.units == [1, 2]
    reports: list[RoundingProgress] = []
    again = quantized(network, data, **settings, finished=kept, progress=reports.append)
    assert reports[-1].total == 200
    assert all(
        torch.equal(whole.weights[name].codes, again.weights[name].codes) for name in whole.weights
    )
    assert torch.equal(output(whole, data[0]), output(again, data[0]))
    plain = quantized(network, data)
    assert torch.equal(
        output(plain, data[0]), output(quantized(ready(networks.PreActivation), data), data[0])
    )


# memory


def test_convolutions_run_channels_last(embedded: Network) -> None:
    found = quantized(embedded, [images for images, _ in fashion(embedded, "calibration", 16)])
    weights = [part.weight for part in found.module.modules() if isinstance(part, nn.Conv2d)]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


def test_code_that_needs_the_usual_memory_gets_it() -> None:
    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 64, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y: Tensor = self.fc(self.conv(x).view(len(x), -1))
            return y, y > 0

    data = [torch.randn(16, 3, 8, 8)]
    network = prepare(Views().eval(), data[0])
    found = quantized(network, data, bits=8)
    assert found.module.conv.weight.is_contiguous()  # type: ignore[union-attr, operator]
    assert evaluate(found.module, data, reference=network.module).kl == pytest.approx(0, abs=1e-3)


# checkpoints


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    quantized(ready(networks.Chain), batches(networks.Chain), bits=2, bias_correction=True).save(
        path
    )
    return path


def rewritten(path: Path, change: Callable[[dict[str, Tensor], dict[str, str]], object]) -> Path:
    with safe_open(path, framework="pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    metadata.pop("digest")
    change(tensors, metadata)
    sealed.write(path, tensors, metadata)
    return path


def test_checkpoints_hold_integers_and_no_float_weight(checkpoint: Path) -> None:
    network = ready(networks.Chain)
    with safe_open(checkpoint, framework="pt") as file:
        names = set(file.keys())
        for layer in network.collection.layers:
            assert f"{layer.name}.weight" not in names
            codes = file.get_tensor(f"{layer.name}.weight.codes")
            assert codes.dtype == torch.uint8 and len(codes) == -(-layer.numel * 2 // 8)
        assert json.loads(file.metadata()["recipe"])["schema"] == "emqlang-recipe"


def a_byte_each(tensors: dict[str, Tensor], metadata: dict[str, str], first: int = 0) -> None:
    """What the older version wrote. `first` is the head's first integer."""
    metadata["format"] = "emqlang-quantized-1"
    for layer in ready(networks.Chain).collection.layers:
        codes = unpack(tensors[f"{layer.name}.weight.codes"], 2, layer.numel)
        codes[0] = first if layer.name == "head" else codes[0]
        tensors[f"{layer.name}.weight.codes"] = codes.reshape(layer.channels_out, layer.fan_in)


def test_checkpoints_of_a_byte_an_integer_still_open(checkpoint: Path) -> None:
    network = ready(networks.Chain)
    new = load_quantized(checkpoint, network).module.state_dict()
    old = load_quantized(rewritten(checkpoint, a_byte_each), network).module.state_dict()
    assert new.keys() == old.keys() and all(torch.equal(new[name], old[name]) for name in new)


@pytest.mark.parametrize("name", ["resnet18-fmnist", "mobilenetv2-fmnist", "vgg-fmnist"])
def test_a_checkpoint_takes_the_bytes_that_were_promised(name: str, tmp_path: Path) -> None:
    network = load(name)
    groups = network.collection.groups
    menu = tuple(Choice(bits, 8) for bits in range(2, 9))
    places = [index % len(menu) for index, _ in enumerate(groups)]
    layers = {
        network.collection.layers[index].name: LayerRecipe(
            weight_scheme(menu[place].weight_bits, observer="minmax"), None
        )
        for group, place in zip(groups, places, strict=True)
        for index in group.layers
    }
    found = quantize(
        network, Recipe(identity(network), layers), [network.example], Procedure(images=1)
    )
    for path in (tmp_path / "one.safetensors", tmp_path / "two.safetensors"):
        found.save(path)
    tensors = sealed.read(path)[0].values()
    assert sum(tensor.nbytes for tensor in tensors) == size(network, menu).cost(places)
    assert path.read_bytes() == (tmp_path / "one.safetensors").read_bytes()
    again = load_quantized(path, network)
    one, two = found.module.state_dict(), again.module.state_dict()
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


CODES, NINE = "head.weight.codes", torch.zeros(9)
MISSING, TOO_LARGE = "integers of layer 'head' are", "integers of layer 'head' do"
CHANGES: list[tuple[Callable[..., object], str, str]] = [
    (lambda tensors, _: tensors.pop(CODES), MISSING, "E302"),
    (lambda tensors, _: tensors.update({CODES: torch.ones(3)}), MISSING, "E302"),
    (lambda tensors, _: tensors.update({CODES: tensors[CODES].float()}), TOO_LARGE, "E302"),
    (lambda tensors, metadata: a_byte_each(tensors, metadata, 4), TOO_LARGE, "E302"),
    (lambda tensors, _: tensors.update({"head.bias": NINE}), "tensor 'head.bias'", "E302"),
    (lambda tensors, _: tensors.update(other=NINE), "tensor 'other' does not fit", "E302"),
    (
        lambda _, metadata: metadata.update(format="pt"),
        "the file is no checkpoint of `emqlang quantize`",
        "E301",
    ),
    (lambda _, metadata: metadata.update(recipe="{}"), "this is not a recipe", "E310"),
]


@pytest.mark.parametrize(("change", "message", "code"), CHANGES)
def test_damaged_checkpoints_say_so(
    checkpoint: Path, change: Callable[..., object], message: str, code: str
) -> None:
    with pytest.raises(EmqError) as refused:
        load_quantized(rewritten(checkpoint, change), ready(networks.Chain))
    (diagnostic,) = refused.value.diagnostics
    assert diagnostic.code == code
    assert diagnostic.message.removeprefix("the checkpoint's ").startswith(message)


def test_checkpoints_that_cannot_be_read_say_so(checkpoint: Path) -> None:
    whole = checkpoint.read_bytes()
    for content in (b"", whole[: len(whole) // 2]):
        checkpoint.write_bytes(content)
        with pytest.raises(EmqError, match="no checkpoint of"):
            load_quantized(checkpoint, ready(networks.Chain))


def test_checkpoints_of_another_network_are_refused(checkpoint: Path) -> None:
    with pytest.raises(EmqError) as refused:
        load_quantized(
            checkpoint, prepare(networks.seeded(networks.Chain, seed=5), inputs(networks.Chain, 2))
        )
    assert refused.value.diagnostics[0].code == "E311"


def test_a_bit_that_flips_anywhere_in_a_checkpoint_is_noticed(checkpoint: Path) -> None:
    """Places spread over the file: header, integers, scales, zero points, biases."""
    whole, network = checkpoint.read_bytes(), ready(networks.Chain)
    for place in range(3, len(whole), max(1, len(whole) // 60)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        checkpoint.write_bytes(damaged)
        with pytest.raises(EmqError) as refused:
            load_quantized(checkpoint, network)
        assert refused.value.diagnostics[0].code == "E301"


def test_a_checkpoint_without_a_digest_is_read_with_a_warning(checkpoint: Path) -> None:
    tensors, metadata, _ = sealed.read(checkpoint)
    save_file(tensors, checkpoint, metadata)
    found = load_quantized(checkpoint, ready(networks.Chain))
    assert [record.code for record in found.diagnostics] == ["W610"]


def test_a_recipe_that_was_edited_beside_a_checkpoint_is_refused(
    checkpoint: Path, tmp_path: Path
) -> None:
    network = ready(networks.Chain)
    load_quantized(checkpoint, network).save(tmp_path / "out")
    again = load_quantized(tmp_path / "out", network)
    again.save(tmp_path / "twice")
    names = ("model.safetensors", "recipe.json")
    for name in names:
        one, two = (tmp_path / folder / name for folder in ("out", "twice"))
        assert one.read_bytes() == two.read_bytes(), "the same bytes twice"
    beside = tmp_path / "out" / "recipe.json"
    whole = beside.read_text()
    for old, new in (
        ('"num_bits": 2', '"num_bits": 3'),
        ('"symmetric": false', '"symmetric": true'),
    ):
        beside.write_text(whole.replace(old, new, 1))
        with pytest.raises(EmqError) as refused:
            load_quantized(tmp_path / "out", network)
        assert refused.value.diagnostics[0].code in ("E310", "E311")
