"""The same bits trained by Brevitas 0.13.4, in an environment of its own, beside `emqlang qat`.

    python -m venv rival && rival/bin/pip install brevitas==0.13.4 accelerate . -c constraints.txt
    rival/bin/python studies/qat_brevitas.py    # measures what is missing: both sides

`resnet18-fmnist` as shipped, batch norms folded, the bits of `experiment qat`'s first row: 3 on
average by the recommended proxy, A8. Both sides train on the same 55,000 images in the same order,
with the same optimizer, schedule, batches and epochs, begin at the same float weights, and keep the
epoch that is best on the same 5,000. Brevitas: weights per channel, asymmetric, the scale by the
range of the weights as they are trained; activations per tensor, asymmetric, a learned scale that
begins at the 99.99th percentile of 1,024 images.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from ptq_tables import SEED, interval
from ptq_task import correct, marks_of, network, packed
from rows import RAW, append, raw, save
from torch import nn

from emqlang.experiments.bits import chosen
from emqlang.experiments.qat import ROWS
from emqlang.quant.networks.rows import Rows
from emqlang.quant.ptq.recipe import Recipe
from emqlang.quant.ptq.splits import calibration_images, training_images
from emqlang.quant.qat.schedule import Settings
from emqlang.quant.qat.split import Split
from emqlang.tasks.qat import QatOptions, train
from emqlang.tasks.workbench import WorkbenchOptions

ROW = ROWS["resnet18-fmnist W3 A8, fisher_length"]
SEEDS, SIDES = (0, 1, 2), ("emqlang", "Brevitas")
OUT = RAW / "qat.jsonl"


def recipe() -> Recipe:
    return chosen(ROW.method, ROW.setting.options, ROW.setting.limits(network()))


def ours(seed: int) -> Iterator[tuple[str, nn.Module]]:
    """The network before training, and after."""
    from emqlang.quant.ptq.quantize import quantize
    from emqlang.quant.ptq.quantized import load_quantized
    from emqlang.quant.ptq.recipe import Procedure

    images = calibration_images(network(), None, seed, 1024)
    yield "quantized", quantize(network(), recipe(), images, Procedure(images=1024)).module
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "recipe.json"
        recipe().save(source)
        out = Path(folder) / "trained"
        train(source, WorkbenchOptions(seed=seed), QatOptions(), {"seed"}, out)
        yield "trained", load_quantized(out, network()).module


def theirs(seed: int) -> Iterator[tuple[str, nn.Module]]:
    from brevitas.graph.calibrate import calibration_mode

    torch.manual_seed(seed)
    model = brevitas_network(recipe().bits)
    with torch.no_grad(), calibration_mode(model):
        for images, _ in calibration_images(network(), None, seed, 1024).batches():
            model(images)
    yield "quantized", model.eval()
    yield "trained", trained(model, seed)


def brevitas_network(bits: dict[str, int]) -> nn.Module:
    """The folded network with Brevitas' layers in the place of those that have bits."""
    import brevitas.nn as qnn
    from brevitas.quant import (
        ShiftedUint8ActPerTensorFloat,
        ShiftedUint8WeightPerChannelFloat,
    )

    model = deepcopy(network().module)
    for name, width in bits.items():
        layer = model.get_submodule(name)
        common = {
            "bias": layer.bias is not None,
            "weight_quant": ShiftedUint8WeightPerChannelFloat,
            "weight_bit_width": width,
            "input_quant": ShiftedUint8ActPerTensorFloat,
            "input_bit_width": ROW.setting.act_bits,
            "return_quant_tensor": False,
        }
        new: nn.Module
        if isinstance(layer, nn.Conv2d):
            new = qnn.QuantConv2d(
                layer.in_channels,
                layer.out_channels,
                layer.kernel_size,
                layer.stride,
                layer.padding,
                layer.dilation,
                layer.groups,
                **common,
            )
        else:
            assert isinstance(layer, nn.Linear)
            new = qnn.QuantLinear(layer.in_features, layer.out_features, **common)
        new.weight = nn.Parameter(layer.weight.detach().clone())
        if layer.bias is not None:
            new.bias = nn.Parameter(layer.bias.detach().clone())
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, new)
    return model


def trained(model: nn.Module, seed: int) -> nn.Module:
    """As `emqlang.quant.qat.trainer` trains, with Brevitas' quantizers."""
    settings = Settings(seed=seed)
    split = Split.of(Rows.of(training_images(network(), None, seed).batches()), seed)
    parameters = [each for each in model.parameters() if each.requires_grad]
    groups = [
        {"params": [p for p in parameters if (p.ndim > 1) is decays], "weight_decay": decay}
        for decays, decay in ((True, settings.decay), (False, 0.0))
    ]
    optimizer = torch.optim.SGD(groups, lr=settings.rate, momentum=settings.momentum)
    best, state = score(model, split.validation), deepcopy(model.state_dict())
    for epoch in range(settings.epochs):
        shuffled = split.shuffled(seed, epoch)
        model.train()
        for start, _, (images, labels) in shuffled.chunks(settings.batch):
            for group in optimizer.param_groups:
                done = (epoch + start / len(shuffled)) / settings.epochs
                group["lr"] = settings.rate_at(done)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
        if (now := score(model, split.validation)) > best:
            best, state = now, deepcopy(model.state_dict())
    model.load_state_dict(state)
    return model.eval()


@torch.no_grad()
def score(model: nn.Module, images: Rows) -> tuple[float, float]:
    """Right answers, and of equals the less loss."""
    model.eval()
    right, loss = 0.0, 0.0
    for _, _, (batch, labels) in images.chunks(250):
        outputs = model(batch)
        right += float((outputs.argmax(1) == labels).sum())
        loss += float(nn.functional.cross_entropy(outputs, labels, reduction="sum"))
    return right, -loss


def summarise() -> None:
    rows = {(row["side"], row["state"], row["seed"]): marks_of(row) for row in raw(OUT)}
    seeds = [s for s in SEEDS if all((side, "trained", s) in rows for side in SIDES)]
    rng, lines = np.random.default_rng(SEED), []
    for state in ("quantized", "trained"):
        both = [np.array([rows[side, state, s] for s in seeds], np.float64) for side in SIDES]
        low, high = interval(both[0] - both[1], rng)
        means = [float(marks.mean()) for marks in both]
        accuracies = dict(zip(SIDES, means, strict=True))
        difference = 100 * (means[0] - means[1])
        lines.append(
            {"state": state, "seeds": len(seeds), **accuracies}
            | {"difference": difference, "low": low, "high": high}
        )
    save("qat_brevitas", lines)


def main() -> None:
    known = {(row["side"], row["seed"]) for row in raw(OUT) if row["state"] == "trained"}
    for seed in SEEDS:
        for side, make in zip(SIDES, (ours, theirs), strict=True):
            if (side, seed) in known:
                continue
            for state, module in make(seed):
                marks = correct(module)
                row = {"side": side, "seed": seed, "state": state}
                append(OUT, {**row, "right": packed(marks.numpy())})
                print(*row.values(), f"{float(marks.double().mean()):.2%}", flush=True)
        summarise()


if __name__ == "__main__":
    main()
