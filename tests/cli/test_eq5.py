"""Eq. 5 on ResNet-18 with random weights, on the command line, against another computation."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from commands import Emq
from torch import Tensor

from emqlang.quant.models import MODELS

EQ5 = "log(abs(grad_synflow)) * sqrt(mean(abs(w)))"
SEED = 3
EPSILON = 1e-5  # of torch's batch norms
BLOCKS = [(stage, block) for stage in (1, 2, 3, 4) for block in (0, 1)]


def folded() -> dict[str, Tensor]:
    """Every layer's weight in float64 with its batch norm's scale in it."""
    state = {
        name: value.double()
        for name, value in MODELS["resnet18"].build(SEED).state_dict().items()
        if value.is_floating_point()
    }
    norms = {"conv1": "bn1", "fc": ""}
    for stage, block in BLOCKS:
        name = f"layer{stage}.{block}"
        norms |= {f"{name}.conv1": f"{name}.bn1", f"{name}.conv2": f"{name}.bn2"}
        if block == 0 and stage > 1:
            norms[f"{name}.downsample.0"] = f"{name}.downsample.1"
    weights = {}
    for layer, norm in norms.items():
        weight = state[f"{layer}.weight"]
        scale = (
            state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + EPSILON)
            if norm
            else torch.ones(len(weight))
        )
        weights[layer] = weight * scale.double().reshape(-1, *[1] * (weight.ndim - 1))
    return weights


def synflow(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """dR / d|w| for an image of ones, no biases; of positive values every ReLU is the identity."""
    p = {name: weight.abs().requires_grad_() for name, weight in weights.items()}
    x = F.conv2d(torch.ones(1, 3, 224, 224, dtype=torch.float64), p["conv1"], stride=2, padding=3)
    x = F.max_pool2d(x, 3, stride=2, padding=1)
    for stage, block in BLOCKS:
        name = f"layer{stage}.{block}"
        stride = 2 if block == 0 and stage > 1 else 1
        y = F.conv2d(x, p[f"{name}.conv1"], stride=stride, padding=1)
        y = F.conv2d(y, p[f"{name}.conv2"], padding=1)
        x = y + (F.conv2d(x, p[f"{name}.downsample.0"], stride=stride) if stride == 2 else x)
    total = (x.mean((2, 3)) @ p["fc"].T).sum()
    return dict(zip(p, torch.autograd.grad(total, list(p.values())), strict=True))


def test_eq5_agrees_with_numpy_on_a_random_resnet18(emq: Emq) -> None:
    done = emq(
        "eval",
        EQ5,
        "--model",
        "resnet18",
        "--weights",
        "random",
        "--seed",
        str(SEED),
        "--no-cache",
        "--json",
    )
    assert done.status == 0, done.err
    (proxy,) = json.loads(done.out)["proxies"]
    values = {layer["name"]: layer["value"] for layer in proxy["layers"]}
    weights = folded()
    gradients = synflow(weights)
    assert (
        sum(weight.numel() for weight in weights.values())
        == sum(layer["numel"] for layer in proxy["layers"])
        == 11_678_912
    )
    assert values.keys() == weights.keys()
    for name, weight in weights.items():
        g, w = gradients[name].numpy(), weight.numpy()
        expected = np.mean(np.log(np.abs(g)) * math.sqrt(np.mean(np.abs(w))))
        assert values[name] == pytest.approx(expected, rel=1e-5), name
    for group in proxy["groups"]:
        assert group["scores"] == pytest.approx(
            {f"W{b}": b * values[group["name"]] for b in (2, 3, 4)}
        )
