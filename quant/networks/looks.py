"""On which rows a network is looked at, until every layer of it has been used.

A network may send each row another way: through an expert, an early exit, or by how many rows there
are. One that uses all of its layers on its example is looked at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from torch import nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.networks.batches import chunks, rows, slice_rows
from emqlang.quant.networks.books import Books
from emqlang.quant.networks.layers import trace_layers
from emqlang.quant.networks.signature import Forward
from emqlang.quant.networks.tracing import Trace

MOST: Final = 1024  # rows that are looked at for layers that are still missing
ENOUGH: Final = 128  # the same, where all rows went the same way
AT_ONCE: Final = 32


def look(
    model: nn.Module, example: Any, more: Callable[[], Iterable[Any]], forward: Forward
) -> tuple[list[Trace], list[Any]]:
    """Traces of the network, and the batches of which each showed a layer that none before it had.

    more  further batches, called only where the example does not reach every layer
    Raises E308 where the forward of the example fails.
    """
    traces, telling = [trace_layers(model, example, forward)], [example]
    missing = set(Books.of(traces).unreached)
    for batch in _further(example, more) if missing else ():
        looked_at = sum(trace.rows for trace in traces)
        if looked_at >= MOST or (looked_at >= ENOUGH and not _routed(traces)):
            break
        try:
            traces.append(trace_layers(model, batch, forward))
        except EmqError:  # it may want as many rows as its example has
            continue
        left = set(Books.of(traces).unreached)
        if left < missing:
            missing = left
            telling.append(batch)
        if not missing:
            break
    return traces, telling


def _further(example: Any, more: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    """One row, as statistics are taken, and then others in small batches."""
    if rows(example) > 1:
        yield slice_rows(example, 0, 1)
    try:
        for batch in more():
            yield from chunks([batch], AT_ONCE)
    except EmqError:  # who needs the data will say what is wrong with it
        return


def _routed(traces: Sequence[Trace]) -> bool:
    """Whether rows went different ways: layers did not do the same work for each."""
    first = traces[0]
    return any(
        trace.macs[name] * first.rows != first.macs[name] * trace.rows
        for trace in traces
        for name in trace.macs.keys() | first.macs.keys()
    )
