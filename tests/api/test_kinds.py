"""Networks that classify no images, from bits to figures: token ids, several inputs, values."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from kinds import KINDS, Kind, mean_distance, measured, regression

import emqlang as emq
from emqlang.quant.networks.network import prepare
from emqlang.quant.ptq.check import check
from emqlang.quant.ptq.quantized import identity
from emqlang.quant.ptq.recipe import Recipe, uniform

FIGURES = ("accuracy", "loss", "agreement", "kl", "relative_error")
SETTINGS = [{}, {"rounding": "brecq", "iterations": 4, "fisher": True, "bias_correction": True}]


def chosen(kind: Kind, bits: float) -> Recipe:
    statistics = emq.collect(kind.module, list(kind.data()), bits="2,3,4,8")
    return emq.assign("bits * mean(abs(w))", statistics, avg_bits=bits)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.data.__name__)
@pytest.mark.parametrize("settings", SETTINGS, ids=["nearest", "learned"])
@pytest.mark.filterwarnings("ignore::emqlang.EmqWarning")
def test_each_kind_is_quantized_and_judged(
    kind: Kind, settings: dict[str, object], tmp_path: Path
) -> None:
    data, module = list(kind.data()), kind.module
    quantized = emq.quantize(module, chosen(kind, 4), data, **settings)
    found = emq.evaluate(quantized, data, reference=module)
    taken = {name for name in FIGURES if getattr(found, name) is not None}
    assert taken == kind.figures and found.images == 64
    assert not kind.predictions or found.predictions == kind.predictions
    plain = emq.evaluate(module, data, reference=module)
    quality = found.quality(plain)
    assert quality.measure == kind.measure and quality.drop < 0.5
    assert (found.kl or found.relative_error or 0) > 0, "quantization leaves traces"
    quantized.save(tmp_path)
    again = emq.load_quantized(tmp_path, module, data)
    assert emq.evaluate(again, data, reference=module) == found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.data.__name__)
@pytest.mark.filterwarnings("ignore::emqlang.EmqWarning")
def test_the_8_bit_check_judges_each_by_its_measure(kind: Kind) -> None:
    data = list(kind.data())
    network = emq.collect(kind.module, data).network
    found = check(network, data, data, images=64)
    assert found is not None and (found.measure, found.images) == (kind.measure, 64)
    assert found.passed is not False and found.score > found.float_score - 0.05


def test_a_metric_stands_beside_numbers_as_labels() -> None:
    module, data = regression()[0], list(measured())
    found = emq.evaluate(module, data, mean_distance)
    with torch.no_grad():
        wanted = sum(float((module(x) - y).abs().mean()) for x, y in data) / len(data)
    assert found.metric == pytest.approx(wanted) and found.metric_name == "mean_distance"


PRECISIONS = [torch.bfloat16, torch.float16, torch.float64]


@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
@pytest.mark.parametrize("rounding", ["nearest", "adaround", "brecq"])
def test_modules_of_any_precision_keep_it(dtype: torch.dtype, rounding: str) -> None:
    """Rounding is learned in float32, also where a block's own code names a precision."""

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = torch.nn.Linear(8, 16), torch.nn.Linear(16, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.down(self.up(x.to(dtype)).relu())

    torch.manual_seed(0)
    module = torch.nn.Sequential(Block(), Block(), torch.nn.Linear(8, 4)).to(dtype).eval()
    data = [torch.randn(64, 8).to(dtype)]
    network = prepare(module, data[0])
    recipe = uniform(identity(network), [layer.name for layer in network.collection.layers], 2, 8)
    how = {"rounding": rounding, "iterations": 200, "images": 64, "fisher": True}
    if rounding == "nearest":
        how |= {"iterations": 1, "fisher": False}
    quantized = emq.quantize(network, recipe, data, **how)
    assert {parameter.dtype for parameter in quantized.module.parameters()} == {dtype}
    assert quantized.module(data[0]).dtype == dtype
    assert all(row.distinct <= 4 for row in quantized.report)
    found = emq.evaluate(quantized, data, reference=module)
    assert found.kl is not None and 0 < found.kl < 0.1


class Detections(torch.nn.Module):
    """As many boxes as score above 0, image by image. (N, 3, H, W)"""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 5, 1)

    def forward(self, images: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        places = self.head(self.body(images).relu()).flatten(2).transpose(1, 2)
        kept = [rows[rows[:, 4] > 0] for rows in places]
        return [{"boxes": rows[:, :4], "scores": rows[:, 4]} for rows in kept]


def test_detections_are_judged_by_a_metric() -> None:
    """Once quantized a network finds other boxes, and there is nothing to compare one by one."""
    torch.manual_seed(0)
    module, data = Detections().eval(), [torch.randn(16, 3, 6, 6)]
    network = prepare(module, data[0])
    recipe = uniform(identity(network), ["body", "head"], 2, 8)
    quantized = emq.quantize(network, recipe, data)
    with pytest.raises(emq.EmqError, match="other shapes than the float network's"):
        emq.evaluate(quantized, data, reference=module)

    def boxes(outputs: list[dict[str, torch.Tensor]], batch: torch.Tensor) -> float:
        return sum(len(each["boxes"]) for each in outputs) / len(batch)

    found = emq.evaluate(quantized, data, boxes, reference=module)
    assert found.metric and found.metric_name == "boxes" and found.agreement is None
    many = [torch.randn(512, 3, 6, 6)]
    assert check(network, data, many, images=16, metric=boxes) is None
