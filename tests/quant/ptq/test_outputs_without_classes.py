"""What stands for accuracy, agreement and KL where a network's outputs are no scores of classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.ptq.evaluate import Evaluation, evaluate, predict


class Returns(nn.Module):
    """Returns what `make` makes of its input, moved by `noise`."""

    def __init__(self, make: Any, noise: float = 0.0) -> None:
        super().__init__()
        self.make, self.noise = make, noise

    def forward(self, x: Tensor, *rest: Tensor) -> Any:
        return self.make(x + self.noise * (x * 37).sin())


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def compared(make: Any, *data: Any, noise: float = 0.3) -> Evaluation:
    return evaluate(Returns(make, noise), list(data), reference=Returns(make))


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


@pytest.mark.parametrize(
    "shape", [(32, 1), (32,), (32, 1, 4, 4)], ids=["one", "squeezed", "depth map"]
)
def test_one_output_has_a_relative_error_and_no_agreement(shape: tuple[int, ...]) -> None:
    x = draw(*shape)
    found = compared(lambda moved: moved, x[:20], x[20:])
    wanted = relative(Returns(lambda moved: moved, 0.3)(x), x)
    assert found.relative_error == pytest.approx(wanted, rel=1e-6)
    assert found.sqnr == pytest.approx(-20 * torch.tensor(wanted).log10().item(), rel=1e-5)
    assert (found.agreement, found.kl, found.accuracy) == (None, None, None)
    assert found.basis.startswith("no labels and no classes")
    same = compared(lambda moved: moved, x, noise=0.0)
    assert same.relative_error == 0 and same.sqnr == float("inf")


@pytest.mark.parametrize("targets", [(32, 1), (32,)])
def test_numbers_as_labels_give_the_mean_squared_error(targets: tuple[int, ...]) -> None:
    x, wanted = draw(32, 1), draw(*targets, seed=1)
    found = compared(lambda moved: moved, (x, wanted))
    moved = Returns(lambda moved: moved, 0.3)(x)
    mean = float((moved - wanted.view(32, 1)).square().mean())
    assert found.loss == pytest.approx(mean) and found.loss_name == "mean squared error"
    assert found.accuracy is None and found.agreement is None and found.relative_error
    assert found.basis == "labels of 32 images, which are numbers"


def test_boxes_beside_classes_have_a_relative_error_and_the_classes_an_agreement() -> None:
    def heads(x: Tensor) -> dict[str, Tensor]:
        return {"boxes": x[:, :4], "classes": x[:, 4:]}

    x = draw(16, 9, 3, 3)
    found, moved = compared(heads, x), Returns(heads, 0.3)(x)
    agreeing = moved["classes"].argmax(1) == x[:, 4:].argmax(1)
    assert found.agreement == pytest.approx(float(agreeing.double().mean()))
    errors = [relative(moved["boxes"], x[:, :4]), relative(moved["classes"], x[:, 4:])]
    assert found.relative_error == pytest.approx(max(errors), rel=1e-6)


@pytest.mark.parametrize("name", ["boxes", "pred_boxes", "embeddings", "last_hidden_state"])
def test_outputs_that_are_named_as_values_have_no_classes(name: str) -> None:
    found = compared(lambda x: {name: x}, draw(8, 4))
    assert found.agreement is None and found.relative_error is not None


def test_the_scores_are_found_among_several_outputs() -> None:
    x, labels = draw(8, 5), torch.arange(8) % 5
    for make in (
        lambda x: {"hidden_states": x.flip(1), "logits": x},
        lambda x: (x.square().mean(), x),  # a loss, and scores
        lambda x: {"features": x.flip(1), "cls": x},
    ):
        found = evaluate(Returns(make), [(x, labels)])
        assert found.accuracy == float((x.argmax(1) == labels).double().mean())


def test_outputs_whose_shape_changes_are_left_to_labels_or_a_metric() -> None:
    """As many boxes as are found: 8 bits may find others."""

    def detect(x: Tensor) -> list[dict[str, Tensor]]:
        return [{"boxes": row[row > 0.5][:, None].repeat(1, 4)} for row in x]

    x = draw(4, 50)
    with pytest.raises(EmqError, match="other shapes than the float network's") as refused:
        compared(detect, x, noise=1.0)
    assert refused.value.diagnostics[0].code == "E303"
    found = evaluate(
        Returns(detect, 1.0), [x], lambda outputs, batch: 7.0, reference=Returns(detect)
    )
    assert found.metric == 7 and found.metric_name == "metric" and not found.comparable
    with pytest.raises(EmqError, match="other shapes"):
        found.quality(found)


def test_a_metric_is_all_that_is_needed() -> None:
    """Of any outputs, and of labels that fit nothing."""

    def count(outputs: Any, batch: Any) -> float:
        return float(len(dict(outputs)["ids"]))

    data = [(draw(6, 3), draw(6, 7)), (draw(2, 3), draw(2, 7))]
    found = evaluate(Returns(lambda x: {"ids": x.argmax(1)}), data, count)
    assert found.metric == 40 / 8 and found.metric_name == "count" and found.loss is None
    kept = predict(Returns(lambda x: {"ids": x.argmax(1)}), data, count)
    assert kept.evaluate() == found
    with pytest.raises(EmqError, match="the metric 'count' failed: "):
        evaluate(Returns(lambda x: x), data, count)


def test_token_ids_as_labels_are_shifted_by_one() -> None:
    """A decoder's position t predicts token t + 1: what predicts itself is right nowhere."""

    class Echo(nn.Module):
        def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
            return {"logits": nn.functional.one_hot(input_ids, 9).float() * 8}

    ids = torch.arange(18).view(2, 9) % 9
    found = evaluate(Echo(), [{"input_ids": ids, "labels": ids}])
    assert found.accuracy == 0 and found.predictions == 2 * 8
    repeated = torch.full((2, 9), 4)
    assert evaluate(Echo(), [{"input_ids": repeated, "labels": repeated}]).accuracy == 1
    own = evaluate(Echo(), [{"input_ids": ids, "labels": (ids + 1) % 9}])
    assert own.predictions == 2 * 9, "labels of their own are not shifted"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_figures_of_half_precision_are_taken_in_single(dtype: torch.dtype) -> None:
    """The sum of 10,240 losses leaves half precision."""
    x, labels = (draw(10_240, 10) * 8).to(dtype), torch.arange(10_240) % 10
    half, single = (
        evaluate(Returns(lambda x: x), [(each, labels)], reference=Returns(lambda x: x))
        for each in (x, x.float())
    )
    assert half == single and half.kl == 0


def test_kl_is_never_negative() -> None:
    for seed in range(20):
        found = compared(lambda x: x, draw(64, 1000, seed=seed) * 0.01, noise=1e-6)
        assert found.kl is not None and found.kl >= 0


def test_quality_is_one_number_beside_the_reference() -> None:
    x, labels = draw(400, 5), torch.arange(400) % 5
    plain, moved = Returns(lambda x: x), Returns(lambda x: x, 0.7)
    for data, measure in (([(x, labels)], "accuracy"), ([x], "agreement with float")):
        kept = predict(plain, data)
        before, after = kept.evaluate(), evaluate(moved, data, reference=kept)
        quality = after.quality(before)
        assert quality.measure == measure and quality.drop == quality.reference - quality.value
        assert after.drops is not None and len(after.drops) == 400
        assert quality.drop == pytest.approx(float(after.drops.mean()))
        assert 0 < quality.error < 0.05
    values = predict(Returns(lambda x: x[:, :1]), [x])
    after = evaluate(Returns(lambda x: x[:, :1], 0.7), [x], reference=values)
    quality = after.quality(values.evaluate())
    assert (quality.measure, quality.reference) == ("fidelity", 1)
    assert quality.drop == after.relative_error
