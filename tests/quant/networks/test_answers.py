"""Where the classes lie in what a network answers, and what follows for losses and drawn labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.networks.answers import answer, class_axis


def scores(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def marks(*shape: int, classes: int = 5) -> Tensor:
    return torch.randint(0, classes, shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("shape", "labels", "axis"),
    [
        ((8, 5), None, -1),
        ((8, 7, 5), None, -1),
        ((8, 5, 6, 6), None, 1),
        ((8, 1), None, None),
        ((8,), None, None),
        ((8, 1, 6, 6), None, None),
        ((8, 5), (8,), -1),
        ((8, 7, 5), (8, 7), -1),
        ((8, 5, 7), (8, 7), 1),
        ((8, 5, 6, 6), (8, 6, 6), 1),
        ((8, 6, 6, 5), (8, 6, 6), -1),
    ],
)
def test_the_classes_are_the_axis_that_labels_lack(
    shape: tuple[int, ...], labels: tuple[int, ...] | None, axis: int | None
) -> None:
    assert class_axis(scores(*shape), None if labels is None else marks(*labels)) == axis


def test_labels_that_are_numbers_make_values_of_scores() -> None:
    said = answer(scores(8, 4), 8, torch.randn(8, 4))
    assert not said.has_classes and said.losses().shape == (8,)
    assert answer(scores(8, 1), 8, torch.randn(8)).labels is not None


def test_losses_are_means_of_each_row() -> None:
    logits, labels = scores(3, 7, 5), marks(3, 7)
    labels[0, 2:] = -100
    found = answer(logits, 3, labels).losses()
    wanted = [
        F.cross_entropy(own, own_labels) for own, own_labels in zip(logits, labels, strict=True)
    ]
    torch.testing.assert_close(found, torch.stack(wanted))
    values, truth = scores(4, 3), torch.zeros(4, 3)
    torch.testing.assert_close(answer(values, 4, truth).losses(), values.square().mean(1))


def test_a_squeezed_row_is_restored() -> None:
    assert answer(scores(10), 1, marks(1)).scores.shape == (1, 10)
    assert answer(torch.tensor(0.5), 1).scores.shape == (1,)
    assert answer(scores(1, 10), 1).scores.shape == (1, 10)


def test_half_precision_is_widened() -> None:
    assert answer(scores(4, 3).half(), 4).scores.dtype == torch.float32
    assert answer(scores(4, 3).double(), 4).scores.dtype == torch.float64


def test_labels_that_are_the_token_ids_are_shifted_by_one() -> None:
    ids = marks(2, 6)
    logits = scores(2, 6, 5)
    said = answer(logits, 2, ids, {"input_ids": ids})
    assert said.labels is not None and torch.equal(said.labels, ids[:, 1:])
    assert torch.equal(said.scores, logits[:, :-1])
    unshifted = answer(logits, 2, marks(2, 6).flip(1), {"input_ids": ids})
    assert unshifted.scores.shape == (2, 6, 5), "labels of their own are taken as they are"


def test_drawn_labels_are_classes_or_values_and_seeded() -> None:
    for shape, drawn in (((4, 7, 5), (4, 7)), ((4, 5, 6, 6), (4, 6, 6)), ((4, 1), (4, 1))):
        first, second = (
            answer(scores(*shape), 4).drawn(torch.Generator().manual_seed(3)) for _ in range(2)
        )
        assert first.shape == drawn and torch.equal(first, second)
    assert int(answer(scores(400, 7, 5), 400).drawn(torch.Generator().manual_seed(3)).max()) < 5


@dataclass
class Output:
    boxes: Tensor
    logits: Tensor


class ByAttribute(dict[str, Any]):
    """As many write it: a name that it lacks, such as `_fields`, is None."""

    __getattr__ = dict.get


class Strict(dict[str, Any]):
    __getattr__ = dict.__getitem__


def test_scores_are_named_logits_or_the_first_numbers() -> None:
    assert answer(Output(scores(2, 4), scores(2, 3)), 2).scores.shape == (2, 3)
    assert answer((marks(2, 4), scores(2, 3)), 2).scores.shape == (2, 3)
    for named in (ByAttribute, Strict):
        assert answer(named(loss=torch.tensor(1.0), logits=scores(2, 3)), 2).scores.shape == (2, 3)
    with pytest.raises(EmqError, match="no scores"):
        answer({"ids": marks(2, 4)}, 2)


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((8, 5), marks(8, 2), "do not fit"),
        ((8, 5), torch.tensor([0, 9] * 4), "from 0 to 9 leave the classes, 0 to 4"),
        ((8, 5), torch.tensor([0, -1] * 4), "from -1 to 0"),
        ((8, 5), torch.randn(8, 3), "do not fit"),
        ((8, 1), marks(8, classes=2), "do not fit outputs float32"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    shape: tuple[int, ...], labels: Tensor, message: str
) -> None:
    with pytest.raises(EmqError, match=message):
        answer(scores(*shape), len(labels), labels)


@pytest.mark.parametrize("rows", [1, 4])
def test_a_recurrent_network_answers_with_time_first(rows: int) -> None:
    scores, labels = torch.randn(7, rows, 5), torch.randint(0, 5, (rows, 7))
    found = answer(scores, rows, labels)
    assert found.scores.equal(scores.transpose(0, 1))
    assert answer(scores, rows).classes == 5


def test_auxiliary_heads_come_last() -> None:
    scores, auxiliary = torch.randn(4, 5), torch.randn(4, 5)
    found = answer({"aux_logits": auxiliary, "out": scores}, 4)
    assert found.scores.equal(scores) and found.others[0] is auxiliary
    assert answer({"aux_logits": auxiliary}, 4).scores.equal(auxiliary)


def test_rows_whose_label_does_not_count_have_no_loss() -> None:
    scores, labels = torch.randn(4, 3), torch.tensor([0, -100, 2, -100])
    found = answer(scores, 4, labels)
    expected = torch.nn.functional.cross_entropy(scores[::2], labels[::2], reduction="sum")
    torch.testing.assert_close(found.loss(), expected)
    assert sum(answer(scores[i, None], 1, labels[i, None]).loss() for i in range(4)) == found.loss()


@pytest.mark.parametrize(
    ("labels", "help"),
    [
        (torch.arange(6)[:, None] % 3, "class numbers are labels.squeeze(1)"),
        (torch.arange(6.0)[:, None] % 3, "class numbers are labels.squeeze(1).long()"),
        (torch.arange(6.0) % 3, "class numbers are whole: labels.long()"),
        (
            torch.eye(3, dtype=torch.long)[torch.arange(6) % 3],
            "class numbers are labels.argmax(-1)",
        ),
        (torch.zeros(6, 3, dtype=torch.long), None),
        (torch.rand(6), None),
    ],
)
def test_labels_that_would_fit_say_how(labels: Tensor, help: str | None) -> None:
    with pytest.raises(EmqError, match="do not fit") as caught:
        answer(torch.randn(6, 3), 6, labels)
    first, *_ = caught.value.diagnostics[0].help
    assert first.startswith("say what they mean") if help is None else first == help


@pytest.mark.parametrize(("labels", "helps"), [([1, 3, 2], 2), ([0, 1, 255], 1), ([-1, 0, 2], 1)])
def test_labels_beyond_the_classes_say_how_they_are_counted(labels: list[int], helps: int) -> None:
    with pytest.raises(EmqError, match="leave the classes, 0 to 2") as caught:
        answer(torch.randn(3, 3), 3, torch.tensor(labels))
    help = caught.value.diagnostics[0].help
    assert len(help) == helps and help[-1] == "labels of what does not count are -100"
