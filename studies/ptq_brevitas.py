"""The same bits by Brevitas 0.13.4, in an environment of its own.

    python -m venv rival && rival/bin/pip install brevitas==0.13.4 accelerate . -c constraints.txt
    rival/bin/python studies/ptq_brevitas.py

Layerwise backend on the same folded network: weights per output channel, asymmetric, scale by MSE;
activations per tensor, asymmetric, 8 bits, the 99.99th percentile of all 1,024 images (its MSE
search takes minutes for the same accuracy at 8 bits). Same images, iterations, batch. Its learned
rounding needs accelerate.
"""

from __future__ import annotations

import warnings
from argparse import Namespace
from collections.abc import Iterator
from copy import deepcopy
from time import perf_counter

import torch
from brevitas_examples.imagenet_classification.ptq import ptq_common
from brevitas_examples.imagenet_classification.ptq.learned_round_utils import apply_learned_round
from ptq_task import BATCH, DRAWS, arguments, calibration, correct, measured, network, record
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

Loader = DataLoader[tuple[Tensor, ...]]
BLOCKS = r"^layer\d+\.\d+$"


def quantized(bits: int, loader: Loader) -> nn.Module:
    """The network with Brevitas' quantizers, calibrated."""
    model: nn.Module = ptq_common.quantize_model(
        deepcopy(network().module).eval(),
        backend="layerwise",
        weight_bit_width=bits,
        act_bit_width=8,
        layerwise_first_last_bit_width=bits,
        bias_bit_width=None,
        weight_quant_granularity="per_channel",
        act_quant_percentile=99.99,
        act_quant_type="asym",
        scale_factor_type="float_scale",
        quant_format="int",
        weight_param_method="mse",
        act_param_method="stats",
        weight_quant_type="asym",
    )
    with torch.no_grad():
        model(next(iter(loader))[0])
    ptq_common.calibrate(loader, model)
    return model


def learned(mode: str, iterations: int) -> Namespace:
    return Namespace(
        learned_round="hard_sigmoid",
        learned_round_mode=mode,
        learned_round_iters=iterations,
        learned_round_lr=1e-3,
        learned_round_batch_size=BATCH,
        learned_round_lr_scheduler=None,
        learned_round_loss="regularised_mse",
    )


def improve(model: nn.Module, method: str, loader: Loader, iterations: int) -> None:
    if method == "gptq":
        ptq_common.apply_gptq(loader, model, act_order=False)
    elif method != "nearest":
        mode = {"adaround": "layerwise", "brecq": "blockwise"}[method]
        apply_learned_round(model, loader, learned(mode, iterations), BLOCKS)


def jobs(iterations: int) -> Iterator[tuple[str, int, int, int]]:
    """Method, bits, iterations and draw of every row."""
    yield "nearest", 8, 0, 0
    for methods, times in ((("nearest", "gptq"), 0), (("adaround", "brecq"), iterations)):
        for draw in DRAWS:
            for bits in (3, 4, 2):
                for method in methods:
                    yield method, bits, times, draw


def main() -> None:
    args = arguments(__doc__)
    warnings.filterwarnings("ignore")
    known = measured(args.out)
    for job in jobs(args.iterations):
        if ("Brevitas", *job) not in known and job[0].startswith(args.only):
            measure(args, *job)


def measure(args: Namespace, method: str, bits: int, iterations: int, draw: int) -> None:
    images = torch.cat(calibration(args.data, draw))
    loader = DataLoader(TensorDataset(images, torch.zeros(len(images))), batch_size=BATCH)
    torch.manual_seed(draw)
    began = perf_counter()
    model = quantized(bits, loader)
    improve(model, method, loader, iterations)
    seconds = perf_counter() - began
    parts = dict(model.named_modules())
    errors = {
        layer.name: float((parts[layer.name].quant_weight().value - layer.weight).square().mean())
        for layer in network().collection.layers
    }
    row = {
        "side": "Brevitas",
        "method": method,
        "bits": bits,
        "iterations": iterations,
        "draw": draw,
        "seconds": seconds,
        "weight_mse": errors,
    }
    record(args.out, row, correct(model))


if __name__ == "__main__":
    main()
