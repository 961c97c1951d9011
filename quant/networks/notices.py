"""What a user should know of a network that was made ready: what stays in float, or at random."""

from __future__ import annotations

from collections.abc import Collection as Names
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from emqlang.grammar.diagnostics import Diagnostic

if TYPE_CHECKING:
    from emqlang.quant.networks.layers import Collection

SHOWN: Final = 5  # names listed in one warning
# What a network's answers change with: the message, and what that means for figures.
VARIES: Final[Mapping[str, tuple[str, ...]]] = {
    "W614": (
        "the network gives another answer each time: it draws random numbers or has a state",
        "what it draws is the same for the same batch; figures hold for what was drawn",
        "a state of its own is not put back: with one, another run may give other figures",
    ),
    "W619": (
        "what the network answers for a row depends on the other rows of the batch",
        "statistics are taken a row at a time; figures hold for batches of the same rows",
    ),
}


def notices(
    weights: str,
    collection: Collection,
    unfolded: Mapping[str, str],
    sizes: Mapping[str, int],
    varies: str,
) -> Iterator[Diagnostic]:
    """W603, W605, W606, W608, W614 and W619, each where it holds.

    unfolded     batch norm -> why it was not folded
    sizes        parameter -> its elements
    varies       W614, W619 or nothing: what its answers change with
    """
    if weights.startswith("random"):
        message = f"the weights are {weights}: scores are those of an untrained network"
        yield Diagnostic("W603", message, help=("give trained ones with --weights PATH",))
    if collection.uncovered:
        yield Diagnostic("W605", _in_float(collection, sizes))
    if unfolded:
        reasons = dict.fromkeys(unfolded.values())
        norms = "; ".join(
            f"{listed([name for name, why in unfolded.items() if why == reason])}: {reason}"
            for reason in list(reasons)[:SHOWN]
        )
        yield Diagnostic("W606", f"batch norms that were not folded: {norms}")
    if collection.unreached:
        rows = "row" if collection.rows == 1 else f"{collection.rows:,} rows"
        yield Diagnostic(
            "W608",
            f"layers that were not used for the {rows} looked at, left out: "
            f"{listed(collection.unreached)}",
        )
    yield from varying(varies)


def varying(code: str) -> Iterator[Diagnostic]:
    """W614 or W619; nothing for no code."""
    if code:
        message, *help = VARIES[code]
        yield Diagnostic(code, message, help=tuple(help))


def _in_float(collection: Collection, sizes: Mapping[str, int]) -> str:
    """Which shares of a network no layer covers: of its products, and of its parameters."""
    entries = collection.uncovered
    macs = sum(entry.macs for entry in entries) / max(1, collection.total_macs)
    numel = sum(entry.numel for entry in entries if entry.name in sizes)
    names = [entry.name for entry in entries if entry.numel]
    made = [entry.name for entry in entries if not entry.numel]
    parts = [listed(names)] * bool(names) + [f"weights made of {listed(made)}"] * bool(made)
    return (
        f"{macs:.1%} of the MACs and {numel / max(1, sum(sizes.values())):.1%} of the parameters "
        f"lie in products and tables outside the known layers and stay at 32 bits: "
        f"{' and '.join(parts)}"
    )


def listed(names: Names[str]) -> str:
    """The first few names, as messages have them."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"'{name}'" for name in list(names)[:SHOWN]) + more
