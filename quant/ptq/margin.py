"""How much more a network may lose on other images than on those that it was chosen by."""

from __future__ import annotations

from math import sqrt
from typing import Final

from emqlang.quant.ptq.evaluate import FIDELITY, Evaluation, Quality

CONFIDENCE: Final = 0.95
DEVIATIONS: Final = 1.6448536269514722  # standard ones, below which that share of a normal lies
ADDED: Final = 2  # images of which half of one is lost, and half of one won


def most(evaluation: Evaluation, quality: Quality, others: int) -> float:
    """The upper end of a one-sided 95 % interval for the drop on as many other images.

    Float and quantized are compared in pairs, image by image, so that only images on which they
    differ widen the interval. Two images are added where predictions are counted, as by Agresti and
    Min (2005), lest few images on which nothing was lost seem certain.
    """
    drops = evaluation.drops
    if drops is None:
        return quality.drop
    added = ADDED if quality.measure != FIDELITY else 0
    count = len(drops) + added
    mean, square = float(drops.sum()) / count, (float(drops.square().sum()) + added / 2) / count
    variance = (square - mean**2) * (1 / count + 1 / max(1, others))
    return quality.drop + DEVIATIONS * sqrt(max(0.0, variance))
