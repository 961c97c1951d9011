"""Built-in networks: torchvision's names and shapes, forwards, seeds, ties, shipped weights."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import cast

import pytest
import torch
from places import FIXTURES
from safetensors import safe_open
from safetensors.torch import load_file

from emqlang.quant.data.datasets import load_data
from emqlang.quant.models import EMBEDDED, MODELS
from emqlang.quant.models.resnet import ResNet, Stem

PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "mobilenet_v2": 3_504_872,
}
SHIPPED = tuple(name for name, spec in MODELS.items() if spec.embedded)


def listed(name: str) -> list[tuple[str, tuple[int, ...]]]:
    lines = (line.split() for line in (FIXTURES / f"{name}_names.txt").read_text().splitlines())
    return [
        (entry, () if shape == "scalar" else tuple(map(int, shape.split("x"))))
        for entry, shape in lines
    ]


@pytest.mark.parametrize("name", PARAMETERS)
def test_names_and_shapes_are_torchvisions(name: str) -> None:
    state = MODELS[name].build().state_dict()
    assert [(entry, tuple(value.shape)) for entry, value in state.items()] == listed(name)


@pytest.mark.parametrize(("name", "parameters"), list(PARAMETERS.items()))
def test_parameter_counts_are_torchvisions(name: str, parameters: int) -> None:
    assert sum(p.numel() for p in MODELS[name].build().parameters()) == parameters


@pytest.mark.parametrize("name", MODELS)
def test_one_image_gives_one_row_of_finite_logits(name: str) -> None:
    spec = MODELS[name]
    with torch.inference_mode():
        logits = spec.build()(torch.ones(1, *spec.images.shape))
    assert logits.shape == (1, spec.classes)
    assert logits.isfinite().all()


def test_the_same_seed_gives_the_same_weights_and_leaves_the_generator_alone() -> None:
    spec = MODELS["resnet18-fmnist"]
    before = torch.get_rng_state()
    first, again, other = spec.build(3), spec.build(3), spec.build(4)
    assert torch.equal(before, torch.get_rng_state())
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True)
    )
    assert not torch.equal(first.state_dict()["conv1.weight"], other.state_dict()["conv1.weight"])


def test_initialisation_follows_fan_out() -> None:
    resnet, mobile = (
        MODELS["resnet18"].build().state_dict(),
        MODELS["mobilenet_v2"].build().state_dict(),
    )
    assert resnet["layer4.1.conv2.weight"].std().item() == pytest.approx(
        (2 / (512 * 9)) ** 0.5, rel=0.01
    )
    assert mobile["features.17.conv.1.0.weight"].std().item() == pytest.approx(
        (2 / (960 * 9)) ** 0.5, rel=0.05
    )
    assert mobile["classifier.1.weight"].std().item() == pytest.approx(0.01, rel=0.01)
    assert mobile["classifier.1.bias"].eq(0).all()


def test_a_downsample_is_tied_to_the_last_convolution_of_its_block() -> None:
    assert MODELS["resnet18"].build().tied_layers == tuple(
        (f"layer{i}.0.conv2", f"layer{i}.0.downsample.0") for i in (2, 3, 4)
    )
    assert MODELS["resnet50"].build().tied_layers == tuple(
        (f"layer{i}.0.conv3", f"layer{i}.0.downsample.0") for i in (1, 2, 3, 4)
    )
    assert MODELS["mobilenet_v2"].build().tied_layers == ()


def test_query_key_and_value_are_tied() -> None:
    assert MODELS["vit-fmnist"].build().tied_layers == tuple(
        tuple(f"blocks.{i}.attention.{part}" for part in ("query", "key", "value"))
        for i in range(5)
    )


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("resnet18", 18),
        ("resnet34", 34),
        ("resnet50", 50),
        ("resnet18-fmnist", 18),
        ("vit-fmnist", 22),
    ],
)
def test_ties_leave_the_papers_groups(name: str, groups: int) -> None:
    net = MODELS[name].build()
    layers = [
        entry
        for entry, module in net.named_modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
    ]
    ties = cast("tuple[tuple[str, ...], ...]", net.tied_layers)
    second = {entry for tie in ties for entry in tie[1:]}
    assert second <= set(layers)
    assert len(layers) - len(second) == groups


@pytest.mark.parametrize(("stem", "height"), [("7x7", 7), ("3x3", 28), ("3x3/2", 14)])
def test_the_stem_decides_the_first_stages_size(stem: Stem, height: int) -> None:
    net = ResNet("basic", (1, 1, 1, 1), width=4, channels=1, classes=2, stem=stem).eval()
    seen: list[torch.Size] = []
    net.layer1.register_forward_hook(lambda module, args, out: seen.append(out.shape))
    net(torch.zeros(1, 1, 28, 28))
    assert seen == [torch.Size((1, 4, height, height))]


def test_official_checkpoints_are_named() -> None:
    assert MODELS["resnet18"].url == "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    assert all(MODELS[name].checkpoint for name in PARAMETERS)
    assert not any(MODELS[name].url for name in SHIPPED)


def test_reading_the_table_does_not_import_torch() -> None:
    code = "import sys, emqlang.quant.models; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_reach_their_stated_accuracy(name: str) -> None:
    spec = MODELS[name]
    path = EMBEDDED / spec.embedded
    net: torch.nn.Module = spec.build().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.load_state_dict(load_file(path))
    data = load_data(spec.data, spec.images, spec.classes, split="test")
    with torch.inference_mode():
        hits = sum(
            int((net(images).argmax(1) == labels).sum())
            for images, labels in data.batches(250)
            if labels is not None
        )
    with safe_open(path, framework="pt") as file:
        stated = json.loads(file.metadata()["emqlang"])["test_accuracy"]
    assert data.count == 10_000
    assert hits / 10_000 == pytest.approx(stated, abs=0.0005)
    assert stated >= (0.915 if name.startswith("resnet18") else 0.90)
