"""The level of a value: whether it belongs to a layer, or to the whole configuration.

Beside its kind, every value has a level: a layer under one choice has one of its own, or the
configuration, a choice for every layer, has one. `total` leads from the first to the second, and
nothing leads back. A literal, and what is made of literals alone, belongs to neither and meets
both. Levels are bits, so that where values meet theirs are joined by `|`.
"""

from __future__ import annotations

from typing import Final

Level = int
CONSTANT, LAYER, CONFIGURATION = 0, 1, 2
MIXED: Final = LAYER | CONFIGURATION  # what no value may be
