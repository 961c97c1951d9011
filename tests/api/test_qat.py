"""Training of networks that classify no images, and of unusual precision, from Python."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from kinds import KINDS, Kind, experts, routed_rows
from torch import nn

import emqlang as emq
from emqlang.quant.networks.network import prepare
from emqlang.quant.ptq.quantized import identity
from emqlang.quant.ptq.recipe import uniform

QUICK = {"epochs": 2, "lr": 0.01, "batch_size": 16}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.data.__name__)
@pytest.mark.parametrize("distill", [None, 1.0], ids=["labels", "distilled"])
@pytest.mark.filterwarnings("ignore::emqlang.EmqWarning")
def test_each_kind_is_trained_and_judged(kind: Kind, distill: float | None, tmp_path: Path) -> None:
    data, module = list(kind.data()), kind.module
    statistics = emq.collect(module, data, bits="2,3,4,8")
    recipe = emq.assign("bits * mean(abs(w))", statistics, avg_bits=3)
    start = emq.quantize(module, recipe, data)
    if distill is None and not kind.figures & {"accuracy", "loss"}:
        with pytest.raises(emq.EmqError, match="no labels"):
            emq.qat(module, start, data)
        return
    trained = emq.qat(module, start, data, distill=distill, **QUICK)  # type: ignore[arg-type]
    found = emq.evaluate(trained, data, reference=module)
    assert found.images == 64
    trained.save(tmp_path)
    again = emq.load_quantized(tmp_path, module, data)
    assert emq.evaluate(again, data, reference=module) == found


@pytest.mark.parametrize("kind", [torch.float64, torch.float16], ids=str)
def test_networks_of_other_precisions(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).to(kind)
    data = [(torch.randn(64, 8).to(kind), torch.randint(3, (64,)))]
    network = prepare(module, data[0][0])
    start = emq.quantize(network, uniform(identity(network), ["0", "2"], 3, 8), data)
    trained = emq.qat(network, start, data, epochs=4, lr=0.05, batch_size=16)
    before, after = (emq.evaluate(each, data).loss for each in (start, trained))
    assert before is not None and after is not None and after < before


@pytest.mark.filterwarnings("ignore::emqlang.EmqWarning")
def test_a_mixture_of_experts_is_trained() -> None:
    module, data = experts()[0], list(routed_rows())
    network = prepare(module, data[0][0])
    names = [layer.name for layer in network.collection.layers]
    start = emq.quantize(network, uniform(identity(network), names, 3, 8), data)
    trained = emq.qat(network, start, data, **QUICK)  # type: ignore[arg-type]
    assert emq.evaluate(trained, data).images == emq.evaluate(start, data).images
