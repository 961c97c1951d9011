"""Figures of networks against a float64 reference in numpy; metrics of one's own; refusals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.ptq.evaluate import IGNORED, evaluate, predict


class Scores(nn.Module):
    """Returns a part of what it is given, as the classes' scores: `axis` is where they lie."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class Noisy(Scores):
    """The same scores, some of them moved."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.7 * (x * 37).sin()


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 2


def labels(*shape: int, classes: int, seed: int = 1) -> Tensor:
    return torch.randint(classes, shape, generator=torch.Generator().manual_seed(seed))


def figures(found: Tensor, marks: Tensor, wanted: Tensor) -> dict[str, float]:
    """The definitions, for classes on the last axis."""
    q, p = (
        log_softmax(x.double().numpy().reshape(-1, x.shape[-1]), axis=-1) for x in (found, wanted)
    )
    flat = marks.numpy().ravel()
    counted = flat != IGNORED
    return {
        "accuracy": float((q.argmax(1) == flat)[counted].mean()),
        "loss": float(-q[counted, flat[counted]].mean()),
        "agreement": float((q.argmax(1) == p.argmax(1)).mean()),
        "kl": float((np.exp(p) * (p - q)).sum(1).mean()),
    }


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((40, 5), -1), ((6, 7, 5), -1), ((6, 5, 7), 1), ((4, 5, 3, 3), 1)],
    ids=["images", "tokens", "steps", "pixels"],
)
def test_figures_are_their_definitions(shape: tuple[int, ...], axis: int) -> None:
    x = images(*shape)
    marks = labels(*x.select(axis, 0).shape, classes=5)
    marks.view(-1)[::7] = IGNORED
    found = evaluate(Noisy(), [(x[:3], marks[:3]), (x[3:], marks[3:])], reference=Scores())
    expected = figures(Noisy()(x).detach().movedim(axis, -1), marks, x.movedim(axis, -1))
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected, rel=1e-5)
    assert found.images == len(x) and found.predictions == marks.numel()
    assert found.basis == f"labels of {len(x)} images"


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_figures_do_not_depend_on_the_batches(sizes: list[int]) -> None:
    x, marks = images(sum(sizes), 4), labels(sum(sizes), classes=4)
    parts = list(zip(x.split(sizes), marks.split(sizes), strict=True))
    whole, cut = (evaluate(Noisy(), data, reference=Scores()) for data in ([(x, marks)], parts))
    for name in ("accuracy", "loss", "agreement", "kl"):
        assert getattr(cut, name) == pytest.approx(getattr(whole, name), rel=1e-5)


def test_without_labels_there_is_agreement_and_kl_and_it_is_said() -> None:
    data = [images(30, 5), images(10, 5, seed=3)]
    found = evaluate(Noisy(), data, reference=Scores())
    assert found.accuracy is None and found.loss is None
    assert (
        found.agreement is not None
        and 0.5 < found.agreement < 1
        and found.kl is not None
        and found.kl > 0
    )
    assert found.basis == "no labels: agreement with the float network on 40 images"
    assert evaluate(Scores(), data, reference=Scores()).agreement == 1


def test_a_reference_can_be_kept() -> None:
    data = [(images(8, 5, seed=i), labels(8, classes=5, seed=i)) for i in range(3)]
    kept = predict(Scores(), data)
    assert evaluate(Noisy(), data, reference=kept) == evaluate(Noisy(), data, reference=Scores())
    assert kept.evaluate() == evaluate(Scores(), data, reference=Scores())
    for other in (data[:2] + data, [(x[:4], y[:4]) for x, y in data]):
        with pytest.raises(EmqError, match="the reference was made from") as refused:
            evaluate(Noisy(), other, reference=kept)
        assert refused.value.diagnostics[0].code == "E304"


def test_where_no_label_counts_there_is_no_accuracy() -> None:
    data = [(images(4, 5), torch.full((4,), IGNORED))]
    assert evaluate(Scores(), data, reference=Scores()).accuracy is None


def test_a_metric_is_averaged_over_images() -> None:
    data = [(images(2, 5), torch.zeros(2)), (images(6, 5), torch.ones(6))]
    found = evaluate(Scores(), [x for x, _ in data], lambda outputs, batch: float(len(batch)))
    assert (
        found.metric == (2 * 2 + 6 * 6) / 8
        and found.images == found.predictions == 8
        and found.agreement is None
    )


def test_batches_may_be_dicts_and_outputs_anything_with_scores() -> None:
    class Wrapped(Scores):
        def forward(self, x: Tensor, mask: Tensor) -> Any:  # type: ignore[override]
            return {"hidden": mask, "logits": x * mask}

    x, marks = images(9, 5), labels(9, classes=5)
    found = evaluate(Wrapped(), [{"x": x, "mask": torch.ones(9, 1), "labels": marks}])
    assert found.accuracy == float((x.argmax(1) == marks).double().mean())


@pytest.mark.parametrize(
    ("data", "message", "code"),
    [
        ([images(4, 5)], "the data has no labels, and there is nothing to compare with", "E303"),
        ([], "the data has no images", "E304"),
        (
            [(images(4, 5), torch.zeros(4))],
            "labels float32 (4,) do not fit outputs float32 (4, 5)",
            "E304",
        ),
        (
            [(images(4, 5), labels(3, classes=5))],
            "labels int64 (3,) do not fit outputs float32 (4, 5)",
            "E304",
        ),
        (
            [(images(4, 5) * float("nan"), labels(4, classes=5))],
            "the network's outputs hold values that are not finite",
            "E312",
        ),
        ([(labels(4, classes=5), labels(4, classes=5))], "the forward of", "E308"),
    ],
)
def test_what_cannot_be_compared_says_so(data: list[Any], message: str, code: str) -> None:
    class Strict(Scores):
        def forward(self, x: Tensor) -> Tensor:
            assert x.is_floating_point()
            return super().forward(x)

    with pytest.raises(EmqError) as refused:
        evaluate(Strict(), data)
    (diagnostic,) = refused.value.diagnostics
    assert diagnostic.code == code and diagnostic.message.startswith(message)


def test_evaluation_leaves_the_network_as_it_was() -> None:
    net = nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5)).eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    data = [(images(8, 5), labels(8, classes=5))]
    evaluate(net, data, reference=predict(Scores(), data))
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_a_metric_of_ones_own_knows_what_numbers_mean() -> None:
    """Labels that are numbers are the metric's; nothing is compared with class numbers."""
    net, values, wanted = nn.Linear(8, 1), images(8, 8), images(8, 1, seed=3)
    found = evaluate(net, [(values, wanted)], lambda o, b: float((o - b[1]).square().mean()))
    with torch.no_grad():
        assert found.metric == pytest.approx(float((net(values) - wanted).square().mean()))
    assert (found.accuracy, found.agreement) == (None, None)
    assert found.loss == pytest.approx(found.metric) and found.loss_name == "mean squared error"


@pytest.mark.parametrize("label", [3, 14, -1])
def test_labels_beyond_the_classes_are_refused(label: int) -> None:
    span = f"labels from {min(0, label)} to {max(0, label)} leave the classes, 0 to 2"
    with pytest.raises(EmqError, match=span):
        evaluate(nn.Linear(4, 3), [(images(2, 4), torch.tensor([0, label]))])


def test_a_loader_may_fill_the_same_tensors_with_every_batch() -> None:
    x, y = torch.randn(6, 3), torch.randint(0, 2, (6,))

    class Refilling:
        x, y = torch.empty(2, 3), torch.empty(2, dtype=torch.long)

        def __iter__(self) -> Iterator[Any]:
            for start in range(0, 6, 2):
                self.x.copy_(x[start : start + 2])
                self.y.copy_(y[start : start + 2])
                yield self.x, self.y

    net = nn.Linear(3, 2)
    whole = [(x[start : start + 2], y[start : start + 2]) for start in range(0, 6, 2)]
    assert predict(net, Refilling()).evaluate() == predict(net, whole).evaluate()
