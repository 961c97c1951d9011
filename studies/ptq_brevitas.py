"""The same bits by Brevitas (0.13.4, with accelerate for learned rounding), in an environment of its own.

    python -m venv rival && rival/bin/pip install brevitas==0.13.4 accelerate . -c constraints.txt
    rival/bin/python studies/ptq_brevitas.py

Layerwise backend on the same folded network: weights per output channel, asymmetric, scale by MSE; activations per tensor,
asymmetric, 8 bits, the 99.99th percentile of all 1,024 images (its MSE search takes minutes for the same accuracy at 8 bits).
Same images, iterations, batch.
"""

from __future__ import annotations

import warnings
from argparse import Namespace
from copy import deepcopy
from time import perf_counter

import torch
from brevitas_examples.imagenet_classification.ptq import ptq_common
from brevitas_examples.imagenet_classification.ptq.learned_round_utils import apply_learned_round
from ptq_task import BATCH, DRAWS, arguments, calibration, done, network, record, right
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
        learned_round="hard_sigmoid", learned_round_mode=mode, learned_round_iters=iterations, learned_round_lr=1e-3,
        learned_round_batch_size=BATCH, learned_round_lr_scheduler=None, learned_round_loss="regularised_mse",
    )  # fmt: skip


def improve(model: nn.Module, method: str, loader: Loader, iterations: int) -> None:
    if method == "gptq":
        ptq_common.apply_gptq(loader, model, act_order=False)
    elif method != "nearest":
        mode = {"adaround": "layerwise", "brecq": "blockwise"}[method]
        apply_learned_round(model, loader, learned(mode, iterations), BLOCKS)


def main() -> None:
    given = arguments(__doc__)
    warnings.filterwarnings("ignore")
    loaders = {}
    for draw in DRAWS:
        images = torch.cat(calibration(given.data, draw))
        loaders[draw] = DataLoader(
            TensorDataset(images, torch.zeros(len(images))), batch_size=BATCH
        )
    jobs = [("nearest", 8, 0, 0)]
    jobs += [
        (method, bits, 0, draw)
        for draw in DRAWS
        for bits in (3, 4, 2)
        for method in ("nearest", "gptq")
    ]
    jobs += [
        (method, bits, given.iterations, draw)
        for draw in DRAWS
        for bits in (3, 4, 2)
        for method in ("adaround", "brecq")
    ]
    known = done(given.out)
    for method, bits, iterations, draw in jobs:
        if ("Brevitas", method, bits, iterations, draw) in known or not method.startswith(
            given.only
        ):
            continue
        torch.manual_seed(draw)
        began = perf_counter()
        model = quantized(bits, loaders[draw])
        improve(model, method, loaders[draw], iterations)
        seconds = perf_counter() - began
        layers = network().collection.layers
        parts = dict(model.named_modules())
        errors = {
            x.name: float((parts[x.name].quant_weight().value - x.weight).square().mean())
            for x in layers
        }
        row = {
            "side": "Brevitas",
            "method": method,
            "bits": bits,
            "iterations": iterations,
            "draw": draw,
            "seconds": seconds,
        }
        record(given.out, row | {"weight_mse": errors}, right(model))


if __name__ == "__main__":
    main()
