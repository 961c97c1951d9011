"""The statistics of all layers of one network, in flat buffers with offsets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from emqlang.grammar.diagnostics import Diagnostic
from emqlang.quant.bits.menu import Choice
from emqlang.quant.networks.notices import listed

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Measured:
    """One statistic.

    values      as `Statistics.array` lays them out
    error       standard errors of an estimate
    unmeasured  layers, by index, that it could not be measured in, with the reason; their values
                are 0 and mean nothing
    """

    values: Tensor
    error: Tensor | None = None
    unmeasured: Mapping[int, str] = field(default_factory=dict)

    def to(self, device: torch.device) -> Measured:
        error = None if self.error is None else self.error.to(device)
        return replace(self, values=self.values.to(device), error=error)


@dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of the L layers of one network.

    fingerprint  equal fingerprints mean equal values of whatever both hold
    layers       their names, in named_modules order
    offsets      for `weight`, `activation` and `image`: L + 1 positions; layer i owns
                 [offsets[i], offsets[i + 1]) of a flat buffer
    totals       true element counts per layer; larger than the stored ones where sampled
    rows         output channels per layer: its weights lie as (rows, fan_in)
    choices      the menu
    device       where the buffers are
    errors       standard errors (L,) of the statistics that are estimates and have one
    warnings     W604 and W609, about the cache, and W613
    unmeasured   statistic -> layer -> why it could not be measured there, where its values are 0
                 and mean nothing
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
    unmeasured: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def array(self, name: str) -> Tensor:
        """The values of one statistic.

        Of weights, activations or images (n,) or (axis length, n), float32 except float64
        `grad_synflow`; of layers (L,) or (axis length, L), float64.
        """
        return self.arrays[name]


def unmeasured_in(
    layers: Sequence[str], unmeasured: Mapping[str, Mapping[int, str]]
) -> dict[str, dict[str, str]]:
    """Statistic -> layer -> reason, by the layers' names; without those that are whole."""
    return {
        name: {layers[index]: reason for index, reason in places.items()}
        for name, places in sorted(unmeasured.items())
        if places
    }


def warnings_of(unmeasured: Mapping[str, Mapping[str, str]]) -> Iterator[Diagnostic]:
    """W613 for each reason, with the layers and the statistics that have no value there."""
    places: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name, layers in unmeasured.items():
        for reason in dict.fromkeys(layers.values()):
            here = tuple(layer for layer, why in layers.items() if why == reason)
            places.setdefault((reason, here), []).append(name)
    for (reason, here), statistics in places.items():
        message = f"{', '.join(statistics)} cannot be measured in {listed(here)}: {reason}"
        yield Diagnostic("W613", message, help=("what is scored there means nothing",))
