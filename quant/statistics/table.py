"""The statistics of all layers of one network, in flat buffers with offsets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from emqlang.grammar.diagnostics import Diagnostic
from emqlang.quant.bits.menu import Choice


@dataclass(frozen=True, eq=False)
class Measured:
    """One statistic: values as `Statistics.array` lays them out, standard errors of an estimate."""

    values: Tensor
    error: Tensor | None = None

    def to(self, device: torch.device) -> Measured:
        return Measured(
            self.values.to(device), None if self.error is None else self.error.to(device)
        )


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of the L layers of one network.

    fingerprint  equal fingerprints mean equal values of whatever both hold
    layers       their names, in named_modules order
    offsets      for `weight` and `activation`: L + 1 positions; layer i owns
                 [offsets[i], offsets[i + 1]) of a flat buffer
    totals       true element counts per layer; larger than the stored ones where sampled
    rows         output channels per layer: its weights lie as (rows, fan_in)
    choices      the menu
    device       where the buffers are
    errors       standard errors (L,) of the statistics that are estimates and have one
    warnings     W604 and W609, about the cache
    """

    fingerprint: str
    layers: tuple[str, ...]
    offsets: Mapping[str, tuple[int, ...]]
    totals: Mapping[str, tuple[int, ...]]
    rows: tuple[int, ...]
    choices: tuple[Choice, ...]
    device: torch.device
    arrays: Mapping[str, Tensor]
    errors: Mapping[str, Tensor]
    warnings: tuple[Diagnostic, ...] = ()

    def array(self, name: str) -> Tensor:
        """The values of one statistic.

        Of weights or activations (n,) or (axis length, n), float32 except float64 `grad_synflow`;
        of layers (L,) or (axis length, L), float64.
        """
        return self.arrays[name]
