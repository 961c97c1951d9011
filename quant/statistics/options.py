"""How statistics are taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from emqlang.grammar.diagnostics import error, nearest
from emqlang.quant.ptq.grids import WeightQuantizer

LOSSES: Final = ("label", "self")
# The network's scores and a batch of images and labels to the mean loss over the images.
Loss = Callable[[Tensor, tuple[Tensor, Tensor | None]], Tensor]


@dataclass(frozen=True)
class StatisticsOptions:
    """The images, loss, randomness and quantizer of a collection, and where it runs and is kept.

    images           shown; all of them if the data has fewer
    loss             'label', 'self' for labels drawn from the network's own softmax, or a function,
                     with which nothing is cached
    label_draws      labels drawn from the network's own softmax for each image, where a statistic
                     has a value for each; None for the label of the loss
    hessian_samples  probes of Hutchinson's estimates, 2 or more
    seed             of probes, sampled positions and drawn labels
    cache            the cache's root folder; None neither reads nor writes one
    Raises E403 for a number of images or a loss that cannot be.
    """

    images: int = 64
    loss: str | Loss = "label"
    label_draws: int | None = None
    hessian_samples: int = 32
    seed: int = 0
    quantizer: WeightQuantizer = field(default_factory=WeightQuantizer)
    device: torch.device | str = "cpu"
    cache: Path | None = None

    def __post_init__(self) -> None:
        if self.images < 1:
            raise error("E403", "statistics take 1 image or more")
        if self.label_draws is not None and self.label_draws < 1:
            raise error("E403", "an image has 1 label draw or more")
        if isinstance(self.loss, str) and self.loss not in LOSSES:
            kinds = f"one of {', '.join(LOSSES)}, or a function of scores and batch"
            raise error(
                "E403", f"there is no loss '{self.loss}'", *nearest(self.loss, LOSSES), kinds
            )
