"""The Python API on modules of the user's own: what it takes and gives, and leaves alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from places import README
from plain import batches, network
from torch import Tensor, nn

import emqlang as emq


class Named(nn.Module):
    """A network that takes and returns named things."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        return {"logits": self.inner(pixels)}


def test_from_a_module_to_the_quantized_network() -> None:
    model, data = network(), batches()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    statistics = emq.collect(model, data)
    recipe = emq.assign("fisher_error", statistics, avg_bits=3)
    quantized = emq.quantize(model, recipe, data, images=64)
    found = emq.evaluate(quantized, data, reference=model)
    assert set(recipe.bits) == {"0", "3", "6"} and found.images == 64
    assert found.accuracy is not None and found.agreement is not None and found.kl is not None
    assert all(row.distinct <= 2 ** recipe.bits[row.name] for row in quantized.report)

    assert model.training, "the model is left as it was"
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_scores_have_a_row_a_group_and_a_column_a_choice() -> None:
    table = emq.score("mean(abs(w))", emq.collect(network(), bits="2,4"))
    assert table.scores.shape == (3, 2) and [str(choice) for choice in table.choices] == [
        "W2",
        "W4",
    ]
    assert table.q == pytest.approx(table.scores[:, 0] / 2)


def test_several_proxies_come_back_in_order() -> None:
    statistics = emq.collect(network(), batches())
    tables = emq.score(["mean(fisher)", "numel"], statistics)
    assert [table.q[0] for table in tables] == [
        emq.score(text, statistics).q[0] for text in ("mean(fisher)", "numel")
    ]


def test_the_loss_is_the_users() -> None:
    data = batches()
    statistics = emq.collect(network(), data, loss=lambda outputs, batch: outputs.square().mean())
    model = network().eval()
    images = torch.cat([images for images, _ in data])
    model(images).square().mean().backward()
    # the batch norm is folded into the first layer, which scales its gradient; not the last
    assert emq.score("mean(abs(grad))", statistics).q[2] == pytest.approx(
        float(model[6].weight.grad.abs().mean()), rel=1e-4
    )


def test_batches_may_be_dicts_and_the_forward_the_users() -> None:
    data: list[dict[str, Any]] = [
        {"pixels": images, "labels": labels} for images, labels in batches()
    ]
    statistics = emq.collect(
        Named(), data, forward=lambda model, batch: model(pixels=batch["pixels"])
    )
    plain = emq.collect(network(), batches())
    assert emq.score("mean(fisher)", statistics).q == pytest.approx(
        emq.score("mean(fisher)", plain).q
    )
    recipe = emq.assign("mean(abs(w))", statistics, size="1.2KiB")
    quantized = emq.quantize(Named(), recipe, data, images=64)
    assert emq.evaluate(quantized, data).images == 64


def test_batches_may_come_from_a_generator() -> None:
    recipe = emq.assign("fisher_error", emq.collect(network(), iter(batches())), avg_bits=3)
    one, two = (
        emq.quantize(network(), recipe, data, images=64) for data in (iter(batches()), batches())
    )
    assert one.report == two.report


def test_without_labels_there_is_agreement_and_kl() -> None:
    model, data = network(), [images for images, _ in batches()]
    found = emq.evaluate(model, data, reference=model)
    assert (
        found.agreement == 1 and found.kl == pytest.approx(0, abs=1e-6) and found.accuracy is None
    )
    with pytest.raises(emq.EmqError, match="no labels"):
        emq.evaluate(model, data)


def test_a_metric_of_ones_own() -> None:
    found = emq.evaluate(
        network(),
        batches(),
        lambda outputs, batch: float((outputs.argmax(1) == batch[1]).float().mean()),
    )
    assert found.metric == pytest.approx(found.accuracy)


def test_costs_add_up() -> None:
    costs = emq.costs(emq.collect(network(), bits="2,8"), accounting="weights")
    size = costs["size"]
    assert size.costs.tolist() == [[54, 216], [18, 72], [10, 40]]
    assert size.cost((0, 1, 0)) == size.base + 54 + 72 + 10


def test_fixed_layers_may_leave_the_menu() -> None:
    recipe = emq.assign("numel", emq.collect(network()), avg_bits=3, fix="0=8")
    assert recipe.bits["0"] == 8 and recipe.bits["3"] in (2, 3, 4)


def test_the_papers_way_is_no_better() -> None:
    statistics = emq.collect(network())
    table = emq.score("mean(abs(w))", statistics)
    menu = list(table.choices)

    def total(recipe: Any) -> float:
        return table.score(
            [[c.weight_bits for c in menu].index(recipe.bits[name]) for name in table.layers]
        )

    exact, sampled = (
        emq.assign(table, statistics, avg_bits=3, method=method, samples=50)
        for method in ("exact", "sample")
    )
    assert total(sampled) <= total(exact)


def test_figures_of_other_bits_are_not_believed(tmp_path: Path) -> None:
    """Whether a recipe is given itself or as its file."""
    recipe = emq.assign("fisher_error", emq.collect(network(), batches()), avg_bits=3)
    record = json.loads(recipe.as_json())
    for layer in record["layers"].values():
        layer["weight"]["num_bits"] = 8
    path = tmp_path / "r.json"
    path.write_text(json.dumps(record))
    for edited in (path, emq.load_recipe(path)):
        with pytest.warns(emq.EmqWarning, match="not those of its bits") as warned:
            found = emq.quantize(network(), edited, batches(), images=64).recipe
        assert ["W611" in str(each.message) for each in warned] == [True]
        assert (found.achieved, found.budget, found.solver) == ({}, {}, None)
    assert emq.quantize(network(), recipe, batches(), images=64).recipe.achieved == recipe.achieved


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda: emq.score("mean(fisher)", emq.collect(network())), "E303"),
        (lambda: emq.collect(network(), []), "E304"),
        (lambda: emq.score("meen(w)", emq.collect(network())), "E102"),
        (lambda: emq.assign("numel", emq.collect(network()), size="4.5"), "E404"),
        (lambda: emq.assign("numel", emq.collect(network()), size="1B"), "E405"),
        (lambda: emq.assign("numel", emq.collect(network()), avg_bits=3, fix="nothing=8"), "E402"),
        (
            lambda: emq.assign(
                emq.score("numel", emq.collect(nn.Conv2d(3, 2, 1))),
                emq.collect(network()),
                avg_bits=3,
            ),
            "E402",
        ),
        (
            lambda: emq.quantize(
                network(),
                emq.assign("numel", emq.collect(network(), batches()), avg_bits=3),
                batches(),
                images=65,
            ),
            "E304",
        ),
        (
            lambda: emq.evaluate(
                emq.quantize(
                    network(),
                    emq.assign("numel", emq.collect(network(), batches()), avg_bits=3),
                    batches(),
                    images=8,
                ),
                "fashion-mnist",
            ),
            "E303",
        ),
    ],
)
def test_what_cannot_be_done_says_so(call: Any, code: str) -> None:
    with pytest.raises(emq.EmqError) as refused:
        call()
    assert refused.value.diagnostics[0].code == code


def test_everything_public_is_there() -> None:
    assert all(callable(getattr(emq, name)) for name in emq.__all__) and dir(emq) == emq.__all__
    with pytest.raises(AttributeError, match="no attribute 'asign'"):
        emq.asign  # noqa: B018


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, emqlang; print(sorted({'torch', 'numpy', 'sympy', 'lark'} & set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )


def test_statistics_and_quantization_do_without_torchs_compiler() -> None:
    """Loading it takes three seconds."""
    code = """
import sys, torch, emqlang as emq
from torch import nn
model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
batches = [torch.rand(2, 1, 8, 8)]
recipe = emq.assign("hawq", emq.collect(model, batches, loss="self"), avg_bits=3)
emq.evaluate(emq.quantize(model, recipe, batches, images=2), batches, reference=model)
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_the_readme_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert blocks
    names: dict[str, Any] = {"model": network(), "batches": batches()}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["quantized"].report


def test_a_generator_may_fill_the_same_tensor_again() -> None:
    def refilled() -> Iterator[tuple[Tensor, Tensor]]:
        buffer = torch.empty(16, *batches()[0][0].shape[1:])
        for images, labels in batches():
            for start in range(0, len(images), 16):
                part = slice(start, start + 16)
                yield buffer[: len(images[part])].copy_(images[part]), labels[part]

    again, plain = (
        emq.score("mean(fisher)", emq.collect(network(), data)) for data in (refilled(), batches())
    )
    assert again.q == pytest.approx(plain.q)
