"""Networks whose answer for a row depends on the others are warned of, and no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from kinds import KINDS, Kind
from torch import Tensor, nn

import emqlang as emq
from emqlang.quant.networks.network import prepare


class Two(nn.Module):
    """Two layers with something between them. (N, 16) to (N, 4)"""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.between = nn.Linear(16, 16), nn.Linear(16, 4), between

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.last(self.between(self.first(x)))
        return scores


class Trained(nn.Sequential):
    """Stays in training mode."""

    def train(self, mode: bool = True) -> Trained:
        return super().train()


def by_count(h: Tensor) -> Tensor:
    return h / len(h)


def centred(h: Tensor) -> Tensor:
    return h - h.mean(0)


def attended(h: Tensor) -> Tensor:
    return (h @ h.T / 100).softmax(1) @ h


def normed() -> nn.Module:
    return Trained(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4))


def codes(module: nn.Module, example: Any) -> set[str]:
    return {warning.code for warning in prepare(module, example).warnings}


@pytest.mark.parametrize("between", [by_count, centred, attended])
@pytest.mark.parametrize("rows", [1, 2])
def test_rows_that_meet_are_warned_of(between: Callable[[Tensor], Tensor], rows: int) -> None:
    torch.manual_seed(0)
    assert "W619" in codes(Two(between), torch.randn(rows, 16))
    torch.manual_seed(0)
    assert "W619" in codes(Two(between), torch.zeros(rows, 16)), "of equal rows, too"


def test_a_norm_over_the_batch_cannot_be_run_on_one_row() -> None:
    torch.manual_seed(0)
    assert "W619" in codes(normed(), torch.randn(2, 16))


@pytest.mark.parametrize("between", [torch.relu, nn.functional.normalize, torch.sign])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_rows_that_do_not_meet_are_not(
    between: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    assert "W619" not in codes(Two(between).to(dtype), torch.randn(2, 16, dtype=dtype))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.data.__name__)
def test_batches_of_any_kind_are_tried(kind: Kind) -> None:
    network = emq.collect(kind.module, list(kind.data())).network
    assert not {warning.code for warning in network.warnings} & {"W614", "W619"}
