"""Training images, and those among them that are set aside to choose the best epoch by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch

from emqlang.grammar.diagnostics import error
from emqlang.quant.determinism import generator
from emqlang.quant.networks.rows import Rows

SHARE: Final = 0.1  # that validates
MOST: Final = 5_000


@dataclass(frozen=True)
class Split:
    """Rows to train on, and rows to validate on: none is among both."""

    training: Rows
    validation: Rows

    @classmethod
    def of(cls, images: Rows, seed: int) -> Split:
        """A tenth of the images validates, at most 5,000. Raises E304 for fewer than two images."""
        count = len(images)
        if count < 2:
            message = f"training takes two images at least, and there are {count}: one validates"
            raise error("E304", message, "give more data")
        order = torch.randperm(count, generator=generator("validation", seed)).tolist()
        aside = min(MOST, max(1, int(count * SHARE)))
        return cls(images.take(sorted(order[aside:])), images.take(sorted(order[:aside])))

    def shuffled(self, seed: int, epoch: int) -> Rows:
        """The training rows in an epoch's order."""
        drawn = generator(f"epoch {epoch}", seed)
        return self.training.take(torch.randperm(len(self.training), generator=drawn).tolist())
