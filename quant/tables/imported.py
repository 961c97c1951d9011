"""A table made of rows that were measured elsewhere."""

from __future__ import annotations

from pathlib import Path

from emqlang.grammar.diagnostics import EmqError, error
from emqlang.quant.bits import costs
from emqlang.quant.bits.fixed import read_configuration
from emqlang.quant.bits.menu import Choice
from emqlang.quant.networks.network import Network, load
from emqlang.quant.tables import sampling
from emqlang.quant.tables.exchange import READERS
from emqlang.quant.tables.facts import facts_of
from emqlang.quant.tables.ledger import Ledger, Row
from emqlang.quant.tables.spec import Spec

IMPORTED = "imported"  # the spec's rounding: how the rows were quantized is not known


def bring_in(source: Path, out: Path, spec: Spec, command: str) -> int:
    """Makes a table of a CSV's or pickle's rows, for a network; returns how many.

    Raises E301 for files, E302 to E309 for the network, E314 for rows that are wrong, impossible or there twice.
    """
    if source.suffix not in READERS:
        raise error("E314", f"'{source.name}' is neither .csv nor .pkl", path=str(source))
    if out.exists():
        raise error("E301", "the table is there already", "give another --out", path=str(out))
    network = load(spec.model, spec.weights, seed=spec.seed, data=spec.data or "")
    found = READERS[source.suffix](source)
    taken = [
        _configuration(row.config, network, number, source) for number, row in enumerate(found)
    ]
    if len(set(taken)) < len(taken):
        raise error("E314", "a configuration is there twice", path=str(source))
    menu = tuple(sorted({choice for row in taken for choice in row}))
    size, bops = costs.size(network, menu), costs.bops(network, menu, act_bits=spec.act_bits)
    drawn = sampling.in_search(len(found))
    rows = []
    for number, (row, told) in enumerate(zip(taken, found, strict=True)):
        choices = tuple(map(menu.index, row))
        search = drawn[number] if told.search is None else told.search
        rows.append(Row(number, choices, search, size.cost(choices), bops.cost(choices)))
    images = max(
        (0 if row.worth.right is None else len(row.worth.right) for row in found), default=0
    )
    facts = facts_of(network, spec, menu, command) | {"images": images, "source": source.name}
    ledger = Ledger.create(out, facts, rows)
    for number, told in enumerate(found):
        ledger.record(number, told.worth)
    ledger.close()
    return len(rows)


def _configuration(text: str, network: Network, number: int, source: Path) -> tuple[Choice, ...]:
    try:
        return read_configuration(text, network.collection)
    except EmqError as failure:
        (problem,) = failure.diagnostics
        raise error(
            "E314", f"row {number}: {problem.message}", *problem.help, path=str(source)
        ) from failure
