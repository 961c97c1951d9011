"""A network, or a checkpoint of a quantized one, on test images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emqlang.quant.networks.network import Network
from emqlang.quant.ptq import evaluate as ptq
from emqlang.quant.ptq.quantized import load_quantized
from emqlang.quant.ptq.splits import Splits
from emqlang.tasks.quantize import MODEL
from emqlang.tasks.workbench import WorkbenchOptions


@dataclass(frozen=True)
class Evaluated:
    """What the float network, or a checkpoint, is worth on test images; `test` names them."""

    network: Network
    checkpoint: Path | None
    test: str
    evaluation: ptq.Evaluation


def evaluate(checkpoint: Path | None, options: WorkbenchOptions, test: str | None) -> Evaluated:
    """Evaluate a checkpoint, a file or the folder that `quantize` wrote, or the float network.

    Raises E301 to E304, E308, E310 to E312.
    """
    network = options.network()
    images = Splits.of(network, options.data, test, 1, options.seed).test
    reference = ptq.predict(network.module, images)
    if checkpoint is None:
        return Evaluated(network, checkpoint, images.source, reference.evaluate(images))
    path = checkpoint / MODEL if checkpoint.is_dir() else checkpoint
    module = load_quantized(path, network).module
    evaluation = ptq.evaluate(module, images, reference=reference)
    return Evaluated(network, checkpoint, images.source, evaluation)
