"""Shifts where images differ: layers that see some rows only, and batches that cannot be joined."""

from __future__ import annotations

import pytest
import torch
from kinds import Experts, routed_rows, seeded
from torch import Tensor, nn

import emqlang as emq

pytestmark = pytest.mark.filterwarnings("ignore::emqlang.EmqWarning")
COUNT = 12


class Lengths(nn.Module):
    """Token ids of any length. (N, T) to (N, 3)"""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(9, 8), nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        scores: Tensor = self.head(self.table(ids).tanh().mean(1))
        return scores


def test_shifts_of_a_routed_expert_are_of_the_images_that_it_is_sent() -> None:
    module = seeded(Experts)
    (values, labels), *_ = routed_rows()
    workbench = emq.collect(module, [(values, labels)], images=COUNT, menu="W4A4,W4A8")
    found = workbench.statistics(["act_shift", "shift"]).array("act_shift")
    names = [layer.name for layer in workbench.network.collection.layers]
    shifts = found.reshape(2, len(names), COUNT)
    chosen = module.gate(values[:COUNT]).argmax(1)
    for index, name in enumerate(names):
        if name.startswith("experts."):
            sent = chosen == int(name.removeprefix("experts."))
            assert not shifts[:, index, ~sent].any()
            assert shifts[0, index, sent].abs().sum() > 0 or not sent.any()


def test_losses_of_batches_that_cannot_be_joined_shift_as_one_by_one() -> None:
    module, generator = seeded(Lengths), torch.Generator().manual_seed(0)
    data = [
        (torch.randint(9, (size, length), generator=generator), torch.arange(size) % 3)
        for size, length in ((3, 5), (2, 7), (4, 5))
    ]
    singles = [(ids[i, None], marks[i, None]) for ids, marks in data for i in range(len(ids))]
    together, apart = (
        emq.collect(module, batches, images=9, bits="2,4").statistics(["loss_shift"])
        for batches in (data, singles)
    )
    torch.testing.assert_close(together.array("loss_shift"), apart.array("loss_shift"))
    assert together.array("loss_shift").abs().max() > 0
