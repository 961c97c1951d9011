"""How often bits that `assign --max-drop` chose lose more than the mark on other images.

python studies/max_drop.py

Fronts of `fisher_form` on shipped networks, thinned to POINTS; each point is quantized once and
tested on all 10,000 images. Then, for many draws of test images, the command's bisection chooses by
one half, with and without its margin, and the other half says whether the mark was missed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from emqlang.grammar import library
from emqlang.quant.progress import silent
from emqlang.quant.ptq.evaluate import Evaluation, Quality
from emqlang.quant.ptq.margin import most
from emqlang.quant.ptq.splits import Splits
from emqlang.tasks.assign import Chooser
from emqlang.tasks.problem import Constraints
from emqlang.tasks.quantize import Quantization, QuantizeOptions
from emqlang.tasks.workbench import WorkbenchOptions

NETWORKS = ("resnet18-fmnist", "vgg-fmnist", "mobilenetv2-fmnist")
POINTS, DRAWS, CALIBRATION = 32, 500, 256
IMAGES, MARKS = (400, 2_000, 10_000), (0.01, 0.02, 0.05)


def drops_of(network: str) -> Tensor:
    """Of every point of the thinned front, the cheapest first: what each image lost (1), or won."""
    options = WorkbenchOptions(network)
    chooser = Chooser(options, Constraints(), silent)
    sweep = chooser.sweep(library.find_one("fisher_form"), None)
    front = sweep.front.points
    places = torch.linspace(0, len(front) - 1, min(POINTS, len(front))).round().int().unique()
    splits = Splits.of(chooser.network, None, None, CALIBRATION, 0)
    settings = QuantizeOptions(calib_images=CALIBRATION, check=False)
    quantization = Quantization(chooser.network, splits, settings, silent)
    rows = []
    for place in places.tolist():
        after = quantization.run(sweep.problem.recipe(front[place][1])).after
        assert after.drops is not None
        rows.append(after.drops)
    return torch.stack(rows)


def missed(drops: Tensor, images: int, mark: float, margin: bool) -> tuple[int, int]:
    """Of DRAWS: how many choose any bits, and how many of those lose more on the other half."""
    chosen = failed = 0
    for draw in range(DRAWS):
        generator = torch.Generator().manual_seed(draw)
        order = torch.randperm(drops.shape[1], generator=generator)[:images]
        half, other = drops[:, order[: images // 2]], drops[:, order[images // 2 :]]

        def enough(place: int, half: Tensor = half, other: Tensor = other) -> bool:
            drop = float(half[place].mean())
            found = Evaluation(half.shape[1], half.shape[1], drops=half[place])
            quality = Quality("accuracy", 1 - drop, drop, 0.0)
            return (most(found, quality, other.shape[1]) if margin else drop) <= mark

        low, high = 0, len(half) - 1
        if not enough(high):
            continue
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle + 1, high)
        chosen += 1
        failed += float(other[high].mean()) > mark
    return chosen, failed


def main() -> None:
    print("network,images,mark,chosen without,missed without,chosen with,missed with")
    for network in NETWORKS:
        drops = drops_of(network)
        for images in IMAGES:
            for mark in MARKS:
                plain, safe = (missed(drops, images, mark, margin) for margin in (False, True))
                print(f"{network},{images},{mark},{plain[0]},{plain[1]},{safe[0]},{safe[1]}")


if __name__ == "__main__":
    main()
