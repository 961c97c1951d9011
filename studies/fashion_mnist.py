"""Other draws of 1,024 training images than the shipped ones.

    emqlang bench rerun TABLE --name images1 --data studies/fashion_mnist.py:draw1

They are drawn from all 60,000, by the number in the name, out of Debian's dataset-fashion-mnist.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from emqlang.quant.data.fashion_mnist import DEBIAN_DIR, read_fashion_mnist
from emqlang.quant.data.images import FASHION_MNIST
from emqlang.quant.models.training import CALIBRATION_IMAGES


def _draw(number: int) -> Callable[[], list[tuple[Tensor, Tensor]]]:
    def batches() -> list[tuple[Tensor, Tensor]]:
        data = read_fashion_mnist(DEBIAN_DIR)
        generator = torch.Generator().manual_seed(number)
        order = torch.randperm(len(data.train_images), generator=generator)
        chosen = order[:CALIBRATION_IMAGES]
        images = FASHION_MNIST.normalise(data.train_images[chosen, None])
        return [(images, data.train_labels[chosen].long())]

    return batches


draw1, draw2, draw3 = (_draw(number) for number in (1, 2, 3))
