"""Where the nodes of an expression's graph stand: in layers, operands on the left of their uses.

A node is one layer to the left of the leftmost that uses it, and in the height of its operands, the
first on top. Nodes that are used by several stand once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from emqlang.grammar.expr import Expr, postorder

Key = tuple[Expr, int]  # a node, and a layer: its own, or one that a line from it goes through


@dataclass(frozen=True)
class Layout:
    """Layers count from the inputs on the left, rows from the top.

    layer  of each node
    row    of each node in its layer, and of its lines in the layers between it and its uses
    """

    layer: Mapping[Expr, int]
    row: Mapping[Key, float]

    @property
    def layers(self) -> int:
        return 1 + max(self.layer.values())

    @property
    def rows(self) -> float:
        return 1 + max(self.row.values())


def layered(root: Expr) -> Layout:
    """The layout of an expression, in time linear in nodes and layers."""
    nodes = list(postorder(root))
    away = dict.fromkeys(nodes, 0)  # layers from the root
    for node in reversed(nodes):
        for operand in node.args:
            away[operand] = max(away[operand], away[node] + 1)
    last = max(away.values())
    layer = {node: last - away[node] for node in nodes}
    row: dict[Key, float] = {}
    free = 0.0  # the next row for a leaf
    for node in nodes:
        operands = {*node.args}
        if operands:
            row[node, layer[node]] = fmean(row[arg, layer[arg]] for arg in operands)
        else:
            row[node, layer[node]] = free
            free += 1
    for node in nodes:
        for operand in node.args:
            for between in range(layer[operand] + 1, layer[node]):
                row.setdefault((operand, between), row[operand, layer[operand]])
    return Layout(layer, _apart(row))


def _apart(row: Mapping[Key, float]) -> dict[Key, float]:
    """Rows in which no two of one layer are nearer than 1, and the uppermost of all is 0."""
    layers = defaultdict[int, list[Key]](list)
    for key in row:
        layers[key[1]].append(key)
    found: dict[Key, float] = {}
    for keys in layers.values():
        keys.sort(key=lambda key: row[key])
        last, moved = -1.0, list[float]()
        for key in keys:
            last = max(row[key], last + 1)
            moved.append(last)
        shift = fmean(new - row[key] for new, key in zip(moved, keys, strict=True))
        found |= {key: new - shift for new, key in zip(moved, keys, strict=True)}
    top = min(found.values())
    return {key: value - top for key, value in found.items()}
