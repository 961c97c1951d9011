"""Networks of the attack that once ended in a traceback: their bits are learned, and read again."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from places import TESTS

import emqlang as emq


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(TESTS / "attack"))
    return importlib.import_module("zoo_parts")


@pytest.mark.parametrize(
    "name",
    ["scripted_part", "sparse_rows", "own_gradient", "quantized_part", "overlapping_weights"],
)
@pytest.mark.filterwarnings("ignore::emqlang.EmqWarning", "ignore::UserWarning")
def test_networks_of_unusual_parts_are_quantized(
    zoo: ModuleType, tmp_path: Path, name: str
) -> None:
    module, _ = getattr(zoo, name)()
    data = list(getattr(zoo, f"{name}_data")())
    statistics = emq.collect(module, data, images=8)
    recipe = emq.assign("bits", statistics, avg_bits=3)
    settings: dict[str, Any] = {"rounding": "brecq", "iterations": 2, "bias_correction": True}
    quantized = emq.quantize(module, recipe, data, **settings)
    found = emq.evaluate(quantized, data, reference=module)
    assert found.loss is not None and found.relative_error != 0
    quantized.save(tmp_path)
    assert emq.evaluate(emq.load_quantized(tmp_path, module, data), data, reference=module) == found
    for name, weight in quantized.weights.items():
        layer = quantized.module.get_submodule(name)
        assert layer.weight.unique().numel() <= weight.codes.unique().numel() * len(weight.codes)
