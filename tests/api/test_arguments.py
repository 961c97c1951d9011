"""What the Python API takes for its arguments: the forms that people write, or an EmqError."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plain import batches, network
from torch import nn

import emqlang as emq
from emqlang.tasks.workbench import Workbench


@pytest.fixture(scope="module")
def statistics() -> Workbench:
    return emq.collect(network())


def code(call: Any) -> str:
    with pytest.raises(emq.EmqError) as refused:
        call()
    return refused.value.diagnostics[0].code


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("bits", ("2,4,8", [2, 4, 8], (2, 4, 8), ["2", "4", "8"])),
        ("bits", ("4", 4, [4], np.array([4]), np.int64(4))),
        ("menu", ("W2A8,W4A8", ["W2A8", "W4A8"])),
    ],
)
def test_menus_are_texts_numbers_and_lists(name: str, forms: tuple[Any, ...]) -> None:
    assert len({emq.collect(network(), **{name: form}).choices for form in forms}) == 1


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("size", ("900B", 900, 900.7)),
        ("bops", ("400M", 400_000_000, 4e8)),
        ("avg_bits", ("3", 3, 3.0)),
    ],
)
def test_budgets_are_texts_and_numbers(
    name: str, forms: tuple[Any, ...], statistics: Workbench
) -> None:
    recipes = [emq.assign("numel", statistics, **{name: form}) for form in forms]
    assert all(recipe.bits == recipes[0].bits for recipe in recipes)
    assert all(recipe.achieved == recipes[0].achieved for recipe in recipes)


def test_fixed_layers_are_a_text_and_a_dict(statistics: Workbench) -> None:
    one, two = (
        emq.assign("numel", statistics, avg_bits=3, fix=fix)
        for fix in ("0=8,6=2", {"0": 8, "6": 2})
    )
    assert one.bits == two.bits and one.bits["0"] == 8


def test_paths_are_texts_and_paths(statistics: Workbench, tmp_path: Path) -> None:
    recipe, data = emq.assign("numel", statistics, avg_bits=3), batches()
    for path in (str(tmp_path / "a" / "r.json"), tmp_path / "r.json"):
        recipe.save(path)
        assert emq.load_recipe(path) == recipe
        quantized = emq.quantize(network(), path, data)
    images = data[0][0]
    for place in (str(tmp_path / "q"), tmp_path / "p", tmp_path / "one.safetensors"):
        quantized.save(place)
        for model in (network(), statistics.network):
            found = emq.load_quantized(place, model, data)
            assert torch.equal(found.module(images), quantized.module(images))
    assert sorted(p.name for p in (tmp_path / "q").iterdir()) == [
        "model.safetensors",
        "recipe.json",
    ]
    assert code(lambda: emq.load_quantized(tmp_path / "q")) == "E305"


def test_few_images_calibrate_unless_a_number_is_said(statistics: Workbench) -> None:
    recipe, data = emq.assign("numel", statistics, avg_bits=3), batches()
    all_of_them = emq.quantize(network(), recipe, data)
    assert all_of_them.recipe.procedure is not None and all_of_them.recipe.procedure.images == 64
    assert all_of_them.report == emq.quantize(network(), recipe, data, images=64).report
    assert emq.quantize(network(), recipe, data[:1]).recipe.procedure.images == 16  # type: ignore[union-attr]
    assert code(lambda: emq.quantize(network(), recipe, data, images=1024)) == "E304"


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        (lambda s, r: emq.assign("numel", s), "E403"),
        (lambda s, r: emq.assign(emq.score("numel", s), s), "E403"),
        (lambda s, r: emq.assign("numel", s, size=True), "E403"),
        (lambda s, r: emq.assign("numel", s, size=float("nan")), "E403"),
        (lambda s, r: emq.assign("numel", s, avg_bits=[3]), "E403"),
        (lambda s, r: emq.assign("numel", s, avg_bits=3, fix=["0"]), "E403"),
        (lambda s, r: emq.collect(network(), bits=None), "E403"),
        (lambda s, r: emq.collect(network(), bits=[]), "E403"),
        (lambda s, r: emq.collect(network(), bits=[2.5]), "E403"),
        (lambda s, r: emq.collect(network(), bits=""), "E401"),
        (lambda s, r: emq.collect(None), "E305"),
        (lambda s, r: emq.collect(network(), 3), "E304"),
        (lambda s, r: emq.quantize(network(), None, batches()), "E310"),
        (lambda s, r: emq.quantize(network(), {"0": 4}, batches()), "E310"),
        (lambda s, r: emq.quantize(None, r, batches()), "E305"),
        (lambda s, r: emq.quantize(network(), r, None), "E304"),
        (lambda s, r: emq.quantize(network(), r, []), "E304"),
        (lambda s, r: emq.quantize(network(), r, batches(), iters=5), "E403"),
        (lambda s, r: emq.quantize(network(), r, batches(), iterations="5"), "E403"),
        (lambda s, r: emq.quantize(network(), r, batches(), iterations=0), "E403"),
        (lambda s, r: emq.quantize(network(), r, batches(), images=0), "E403"),
        (lambda s, r: emq.quantize(network(), r, batches(), images="64"), "E403"),
        (lambda s, r: emq.quantize(network(), r, batches(), fisher=1), "E403"),
        (lambda s, r: emq.evaluate(None, batches()), "E305"),
        (lambda s, r: emq.evaluate(network(), None), "E304"),
        (lambda s, r: emq.evaluate(network(), batches(), reference=3), "E305"),
        (lambda s, r: emq.evaluate(network(), batches(), 3), "E403"),
        (lambda s, r: emq.quantize(network(), r, batches(), progress=3), "E403"),
        (lambda s, r: emq.score(None, s), "E403"),
        (lambda s, r: emq.score(["numel", 3], s), "E403"),
        (lambda s, r: emq.score("numel", network()), "E403"),
        (lambda s, r: emq.score(emq.score("numel", s), s), "E403"),
        (lambda s, r: emq.score("numel", s, tied="x"), "E403"),
        (lambda s, r: emq.assign(3, s, avg_bits=3), "E403"),
        (lambda s, r: emq.assign(avg_bits=3), "E403"),
        (lambda s, r: emq.assign(["numel"], s, avg_bits=3), "E403"),
        (lambda s, r: emq.assign("numel", None, avg_bits=3), "E403"),
        *(
            (lambda s, r, bad=bad: emq.assign("numel", s, avg_bits=3, **bad), "E403")
            for bad in (
                {"accounting": "x"},
                {"method": "x"},
                {"samples": 0},
                {"samples": "9"},
                {"seed": -1},
                {"act_bits": 99},
                {"act_bits": "8"},
            )
        ),
        (lambda s, r: emq.costs(None), "E403"),
        (lambda s, r: emq.costs(s, accounting="x"), "E403"),
        *(
            (lambda s, r, bad=bad: emq.collect(network(), batches(), **bad), "E403")
            for bad in (
                {"loss": 3},
                {"images": "64"},
                {"images": 0},
                {"hessian_samples": 1},
                {"device": "gpu"},
                {"device": None},
                {"seed": "a"},
                {"forward": 3},
            )
        ),
        (lambda s, r: emq.load(None), "E305"),
        (lambda s, r: r.save("/proc/nothing/r.json"), "E301"),
        (lambda s, r: r.save("/proc"), "E301"),
        (lambda s, r: r.save(None), "E301"),
        (lambda s, r: emq.quantize(network(), r, batches()).save("/proc/nothing"), "E301"),
        (lambda s, r: emq.load_recipe(None), "E301"),
        (lambda s, r: emq.load_quantized(None), "E301"),
        (lambda s, r: emq.load_recipe("no such file"), "E301"),
        (lambda s, r: emq.load_quantized("no such folder"), "E301"),
    ],
)
def test_what_is_no_argument_is_an_error_of_ours(
    call: Any, wanted: str, statistics: Workbench
) -> None:
    recipe = emq.assign("numel", statistics, avg_bits=3)
    assert code(lambda: call(statistics, recipe)) == wanted


def test_a_setting_that_there_is_not_has_a_neighbour(statistics: Workbench) -> None:
    recipe = emq.assign("numel", statistics, avg_bits=3)
    with pytest.raises(emq.EmqError, match="did you mean 'iterations'"):
        emq.quantize(network(), recipe, batches(), iters=5)


class Partly(nn.Module):
    """A product outside the known layers, which stays in float."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.bare = network(), nn.Parameter(torch.ones(5, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = self.body(x) @ self.bare
        return product


def warned(call: Any) -> tuple[Any, list[str]]:
    """What a call returns, and the codes that it warns of, here."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    ours = [each for each in caught if issubclass(each.category, emq.EmqWarning)]
    assert all(each.filename == __file__ for each in ours)
    return result, [each.message.diagnostic.code for each in ours]  # type: ignore[union-attr]


def test_warnings_are_pythons_each_once() -> None:
    model, data = Partly(), batches()
    statistics, codes = warned(lambda: emq.collect(model, data))
    assert codes == ["W605"]
    assert warned(lambda: emq.score("mean(abs(w))", statistics))[1] == []
    recipe, codes = warned(lambda: emq.assign("-mean(abs(w)) * bits", statistics, avg_bits=3))
    assert codes == ["W602"]
    quantized, codes = warned(lambda: emq.quantize(model, recipe, data))
    assert codes == ["W605"]
    assert warned(lambda: emq.evaluate(quantized, data, reference=model))[1] == []
    assert warned(lambda: emq.evaluate(statistics.network, data))[1] == ["W605"]
    named = emq.collect("resnet18-fmnist", bits="2,4")
    assert warned(lambda: emq.score("numel", named))[1] == []
    assert warned(lambda: emq.assign("numel", statistics, avg_bits=3, fix="body.0=8"))[1] == []


@pytest.mark.parametrize("call", [emq.parse, emq.key, emq.load_file])
@pytest.mark.parametrize("value", [None, 3, b"w", ["w"], {}, torch.zeros(2)])
def test_functions_on_texts_refuse_what_is_none(call: Any, value: Any) -> None:
    assert code(lambda: call(value)) == "E403"


def test_a_key_is_of_an_expression() -> None:
    assert code(lambda: emq.key("w")) == "E403"  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["a\0b.emq", "x" * 5000, Path("y" * 5000)])
def test_paths_that_no_file_can_have(path: str | Path) -> None:
    assert code(lambda: emq.load_file(path)) == "E301"


@pytest.mark.parametrize("make", [lambda: 10**5000, lambda: torch.zeros(2), object])
@pytest.mark.parametrize("name", ["size", "bops", "latency", "avg_bits"])
def test_budgets_that_are_no_number(name: str, make: Any, statistics: Workbench) -> None:
    assert code(lambda: emq.assign("numel", statistics, **{name: make()})) == "E403"
