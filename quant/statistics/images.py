"""The rows of the data that statistics are taken on, or that rounding is learned on."""

from __future__ import annotations

from emqlang.quant.data.datasets import Dataset
from emqlang.quant.data.loader import Wanted, check_inputs
from emqlang.quant.networks.network import Network
from emqlang.quant.networks.rows import Rows


def rows_of(data: Dataset | None, count: int, network: Network) -> Rows:
    """The first `count` rows, or all if there are fewer; none where there is no data.

    Raises E304 for rows that do not fit the network.
    """
    if data is None:
        return Rows((), ())
    rows = Rows.of(data.batches(), count)
    wanted = Wanted(network.input_shape, network.example, network.signature)
    for number, batch in enumerate(rows.batches):
        check_inputs(batch, wanted, f"batch {number} of {data.name}")
    return rows
