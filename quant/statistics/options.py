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
from emqlang.quant.ptq.recipe import Procedure

LOSSES: Final = ("label", "self")
# The network's scores and a batch of images and labels to the mean loss over the images.
Loss = Callable[[Tensor, tuple[Tensor, Tensor | None]], Tensor]

NEAREST: Final = Procedure()
# Those that round a layer alike whatever the other layers' bits are.
ROUNDINGS: Final = ("nearest", "adaround")


@dataclass(frozen=True)
class StatisticsOptions:
    """The images, loss, randomness and quantizer of a collection, and where it runs and is kept.

    images           shown; all of them if the data has fewer
    loss             'label', 'self' for labels drawn from the network's own softmax, or a function,
                     with which nothing is cached
    label_draws      labels drawn from the network's own softmax for each image, where a statistic
                     has a value for each; None for the label of the loss
    hessian_samples  probes of Hutchinson's estimates, 2 or more
    seed             of probes, sampled positions, drawn labels, and what is learned
    procedure        how weights are rounded in statistics of quantization errors: to the nearest
                     value, or by 'adaround', learned on so many images of the data
    cache            the cache's root folder; None neither reads nor writes one
    record           key under which the collection is recorded there; empty for not
    Raises E403 for a number of images, a loss or a rounding that cannot be.
    """

    images: int = 64
    loss: str | Loss = "label"
    label_draws: int | None = None
    hessian_samples: int = 32
    seed: int = 0
    quantizer: WeightQuantizer = field(default_factory=WeightQuantizer)
    procedure: Procedure = NEAREST
    device: torch.device | str = "cpu"
    cache: Path | None = None
    record: str = ""

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
        if self.procedure.rounding == "brecq":
            message = "brecq rounds the layers of a block together, and statistics are of one layer"
            raise error("E403", message, "take --rounding adaround, or nearest")
        if self.procedure.rounding not in ROUNDINGS:
            help = (*nearest(self.procedure.rounding, ROUNDINGS), f"one of {', '.join(ROUNDINGS)}")
            raise error("E403", f"there is no rounding '{self.procedure.rounding}'", *help)
