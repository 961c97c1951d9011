"""What the compiler needs of statistics: flat buffers with offsets.

`emqlang.quant.statistics` provides them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


class Choice(Protocol):
    """A menu entry. `act_bits` is None where activation bits are not chosen."""

    @property
    def weight_bits(self) -> int: ...
    @property
    def act_bits(self) -> int | None: ...


class Device(Protocol):
    """Where buffers are: torch's device, or what says 'cpu' without it."""

    @property
    def type(self) -> str: ...


class Statistics(Protocol):
    """Statistics of all L layers of one network, visited once.

    offsets  for `weight`, `activation` and `image`, L + 1 positions: layer i owns
             [offsets[i], offsets[i + 1]) of a flat buffer
    totals   for the same kinds, true element counts per layer; larger than the stored ones where
             elements were sampled
    rows     output channels per layer: its weights lie as (rows, fan_in), output channels first
    choices  the menu. Its distinct weight bits, and distinct activation bits, in order of first
             appearance, index the leading dimension of a statistic that depends on them; one that
             depends on both has one row per choice
    """

    @property
    def fingerprint(self) -> str: ...
    @property
    def layers(self) -> Sequence[str]: ...
    @property
    def offsets(self) -> Mapping[str, Sequence[int]]: ...
    @property
    def totals(self) -> Mapping[str, Sequence[int]]: ...
    @property
    def rows(self) -> Sequence[int]: ...
    @property
    def choices(self) -> Sequence[Choice]: ...
    @property
    def device(self) -> Device: ...
    def array(self, name: str) -> torch.Tensor | NDArray[Any]:
        """A weight, activation or image statistic, (n,) or (axis length, n).

        A layer statistic is float64, (L,) or (axis length, L).
        """
        ...


def on_host(values: torch.Tensor | NDArray[Any]) -> NDArray[Any]:
    """A statistic in main memory; it is not copied if it is there."""
    return values if isinstance(values, np.ndarray) else values.cpu().numpy()
