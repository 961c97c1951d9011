"""Batches of every form: what is fed, which part is labels; cutting and joining lose no row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.networks.answers import logits_of
from emqlang.quant.networks.batches import (
    chunks,
    feed,
    held,
    join,
    labels_of,
    pass_through,
    rows,
    rows_at,
    run,
    slice_rows,
    take,
)
from emqlang.quant.networks.rows import Rows

SIZES = st.lists(st.integers(1, 7), min_size=1, max_size=6)
FORMS = ("tensor", "tuple", "dict")


def batch(start: int, size: int, form: str) -> Any:
    """Rows that are numbered from `start`."""
    images = torch.arange(start, start + size, dtype=torch.float32)[:, None]
    labels = torch.arange(start, start + size)
    return {"tensor": images, "tuple": (images, labels), "dict": {"labels": labels, "x": images}}[
        form
    ]


def batches(sizes: list[int], form: str) -> list[Any]:
    return [batch(sum(sizes[:i]), size, form) for i, size in enumerate(sizes)]


def numbers(some: list[Any]) -> list[float]:
    """The number of every row, as images and labels have it."""
    found = []
    for one in some:
        images = feed(nn.Identity(), one) if not isinstance(one, dict) else one["x"]
        labels = labels_of(one)
        assert labels is None or labels.tolist() == images.flatten().tolist()
        found += images.flatten().tolist()
    return found


@given(SIZES, st.sampled_from(FORMS), st.data())
def test_no_row_is_lost_or_moved(sizes: list[int], form: str, data: st.DataObject) -> None:
    total = sum(sizes)
    wanted = data.draw(st.integers(1, total))
    taken = take(iter(batches(sizes, form)), wanted)
    assert numbers(taken) == list(range(wanted))
    size = data.draw(st.integers(1, 8))
    cut = chunks(taken, size)
    assert numbers(cut) == list(range(wanted)) and all(rows(part) <= size for part in cut)
    joined = join(cut, size)
    assert numbers([joined]) == list(range(min(size, wanted)))


@given(SIZES, st.sampled_from(FORMS))
def test_too_few_rows_are_refused(sizes: list[int], form: str) -> None:
    with pytest.raises(
        EmqError, match=rf"{sum(sizes) + 1} images are asked for, and the data has {sum(sizes)}"
    ):
        take(batches(sizes, form), sum(sizes) + 1)
    assert numbers(take(batches(sizes, form), None)) == list(range(sum(sizes)))


def test_data_without_images_is_refused() -> None:
    with pytest.raises(EmqError, match="the data has no images"):
        take([], None)


def test_what_no_image_owns_is_not_cut() -> None:
    mask = torch.ones(3)
    part = slice_rows(
        {"x": torch.zeros(5, 2), "mask": mask, "scale": torch.tensor(2.0), "name": "n"}, 1, 3
    )
    assert (
        part["x"].shape == (2, 2)
        and part["mask"] is mask
        and part["scale"] == 2
        and part["name"] == "n"
    )


def test_rows_of_another_shape_are_not_joined() -> None:
    short, long = torch.zeros(2, 5), torch.zeros(2, 7)
    assert join([short, long, short], 9).shape == (4, 5)


def test_tensors_of_inference_mode_can_be_learned_from() -> None:
    with torch.inference_mode():
        made = (torch.ones(2, 3), torch.ones(2))
    (taken,) = take([made], 2)
    assert not any(leaf.is_inference() for leaf in taken)


class Sum(nn.Module):
    def forward(self, left: Tensor, right: Tensor | None = None) -> Tensor:
        return left if right is None else left + right


@pytest.mark.parametrize(
    ("given_batch", "expected"),
    [
        (torch.ones(2), 1),
        ((torch.ones(2), torch.tensor([5, 5])), 1),
        ([torch.ones(2)], 1),
        ({"left": torch.ones(2), "labels": torch.tensor([5, 5])}, 1),
        ({"anything": torch.ones(2)}, 1),
        ({"right": torch.ones(2), "left": torch.ones(2), "target": torch.tensor([5, 5])}, 2),
    ],
)
def test_networks_are_given_the_inputs_alone(given_batch: Any, expected: float) -> None:
    assert pass_through(Sum(), given_batch, feed).tolist() == [expected, expected]


def test_a_network_that_fails_says_on_what() -> None:
    with pytest.raises(
        EmqError, match=r"the forward of Linear on an input of shape \(2, 3\) failed"
    ) as failed:
        pass_through(nn.Linear(4, 1), torch.ones(2, 3), feed)
    assert failed.value.diagnostics[0].code == "E308"


def test_scores_are_found_in_what_networks_return() -> None:
    scores = torch.rand(2, 3)

    class Output:
        logits = scores

    for outputs in (scores, (scores, None), {"hidden": torch.rand(1), "logits": scores}, Output()):
        assert logits_of(outputs) is scores
    with pytest.raises(EmqError, match="the network returned Tensor, in which there are no scores"):
        logits_of(torch.ones(2, dtype=torch.int64))


def test_a_loader_may_fill_the_same_tensor_again() -> None:
    def refilled() -> Iterator[Tensor]:
        buffer = torch.empty(4, 3)
        for number in range(3):
            yield buffer.fill_(number)

    assert [float(batch.mean()) for batch in take(refilled(), 10)] == [0, 1, 2]
    assert [float(batch.mean()) for batch in held(refilled())] == [0, 1, 2]


def test_sparse_rows_are_taken_and_nested_ones_refused() -> None:
    values = torch.eye(6)[:, :4]
    batch = {"x": values.to_sparse(), "y": torch.arange(6)}
    assert rows(batch) == 6
    part = slice_rows(batch, 2, 9)
    assert torch.equal(part["x"].to_dense(), values[2:]) and part["y"].tolist() == [2, 3, 4, 5]
    net = nn.Linear(4, 2)
    assert torch.allclose(run(net, batch["x"], feed), net(values))
    nested = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)], layout=torch.jagged)
    for use in (lambda: rows(nested), lambda: run(net, nested, feed)):
        with pytest.raises(EmqError, match="nested") as caught:
            use()
        assert caught.value.diagnostics[0].code == "E304"


def detections(*sizes: int) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Images of any size and their boxes, as detectors are fed."""
    images = [torch.full((3, size, size + 1), float(size)) for size in sizes]
    return images, [{"boxes": torch.full((size, 4), float(size))} for size in sizes]


def test_lists_with_targets_have_a_row_for_each_entry() -> None:
    batch = detections(5, 6, 7, 8)
    assert rows(batch) == 4 and rows({"images": batch[0], "targets": batch[1]}) == 4
    images, targets = slice_rows(batch, 1, 3)
    assert [image.shape[1] for image in images] == [6, 7]
    assert [len(target["boxes"]) for target in targets] == [6, 7]
    assert [image.shape[1] for image in rows_at(batch, torch.tensor([3, 0]))[0]] == [8, 5]
    assert [rows(part) for part in take([batch, batch], 6)] == [4, 2]
    images, targets = join([batch, detections(9, 4)], 5)
    assert [image.shape[1] for image in images] == [5, 6, 7, 8, 9] and len(targets) == 5
    assert [len(part[0]) for _, _, part in Rows.of([batch, detections(9)]).chunks(3)] == [3, 1, 1]
    assert rows(([torch.ones(2, 3), torch.ones(2, 5)], torch.ones(2))) == 2  # two inputs, no lists


@pytest.mark.parametrize("time", [torch.tensor, float])
def test_rows_are_joined_with_those_of_the_same_numbers(time: Any) -> None:
    x = torch.arange(12.0).reshape(6, 2)
    batches = [{"x": x[:2], "t": time(1)}, {"x": x[2:4], "t": time(2)}, {"x": x[4:], "t": time(1)}]
    assert join(batches, 6)["x"].equal(torch.cat([x[:2], x[4:]]))
