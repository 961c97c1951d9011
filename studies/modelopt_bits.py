"""Bits that ModelOpt 0.47.0 chooses, for `bits.py` to quantize, in an environment of its own.

    python -m venv rival
    rival/bin/pip install nvidia-modelopt==0.47.0 requests huggingface_hub . -c constraints.txt
    rival/bin/python studies/modelopt_bits.py    # into studies/raw/bits_chosen.jsonl

Both methods of `auto_quantize`, on the same folded networks, groups and menus. The 256 images
that our statistics are taken on score the formats, and all 1,024 calibrate them. A format is
ModelOpt's own weight grid, per output channel, symmetric, of 2 ** bits - 1 levels, ranges by its
`mse`, beside inputs of 8 bits; no layer may stay in float. `gradient` solves for the least sum of
scores, `kl_div` for the least threshold that the scores of the layers keep to.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from itertools import groupby
from typing import Any

import modelopt.torch.quantization as mtq
from bits import CASES, CHOSEN, RIVALS, Case, network, of_case, workbench
from modelopt.torch.quantization.algorithms import AutoQuantizeSearcher
from ptq_task import BATCH, CALIBRATION
from rows import append, raw
from torch.nn.functional import cross_entropy

from emqlang.tasks.workbench import Workbench


def form(bits: int) -> dict[str, Any]:
    """Weights of so many bits, inputs of eight."""
    places = {"*weight_quantizer": (bits, 0), "*input_quantizer": (8, None)}
    entries = [
        {"quantizer_name": name, "cfg": {"num_bits": width, "axis": axis}}
        for name, (width, axis) in places.items()
    ]
    return {"quant_cfg": entries, "algorithm": "mse"}


def scored(bench: Workbench, method: str) -> dict[str, Any]:
    """ModelOpt's scores of every format in every group, from which any average is solved."""
    options = replace(bench.options, stat_images=CALIBRATION)
    few, every = bench.data, Workbench(options, network=bench.network).data
    assert few is not None and every is not None
    scoring = list(few.batches(BATCH))
    batches = [*scoring, *every.batches(BATCH)]
    formats = [form(choice.weight_bits) for choice in bench.choices]
    AutoQuantizeSearcher.quant_grouping_rules[:] = [group_of(bench)]
    _, state = mtq.auto_quantize(
        deepcopy(bench.network.module),
        {"effective_bits": float(max(choice.weight_bits for choice in bench.choices))},
        formats,
        data_loader=batches,
        forward_step=lambda model, batch: model(batch[0]),
        loss_func=lambda outputs, batch: cross_entropy(outputs, batch[1]),
        num_calib_steps=len(batches),
        num_score_steps=len(scoring),
        method=method,
        module_search_spaces=[
            {"module_name_patterns": "*", "quantization_formats": formats, "allow_no_quant": False}
        ],
    )
    return state


def group_of(bench: Workbench) -> Any:
    """ModelOpt's rule for which layers have one format: the name of a group, of a layer's name."""
    layers, groups = bench.network.collection.layers, bench.network.collection.groups
    names = {layers[index].name: group.name for group in groups for index in group.layers}
    return lambda model, name: names[name]


def solved(state: dict[str, Any], case: Case) -> list[int]:
    """The weight bits of every group at an average."""
    found = mtq.get_auto_quantize_config(state, {"effective_bits": case.average})["quant_cfg"]
    bits = {entry["quantizer_name"]: entry["cfg"]["num_bits"] for entry in found if "cfg" in entry}
    collection = network(case.network).collection
    first = (collection.layers[group.layers[0]].name for group in collection.groups)
    return [bits[f"{name}.weight_quantizer"] for name in first]


def main() -> None:
    for method in RIVALS:
        left = [
            case
            for case in CASES
            if not any(row["method"] == method for row in of_case(raw(CHOSEN), case))
        ]
        for (name, menu), cases in groupby(left, lambda case: (case.network, case.menu)):
            state = scored(workbench(name, menu), method.removeprefix("modelopt "))
            for case in cases:
                append(CHOSEN, {**case.row, "method": method, "config": solved(state, case)})


if __name__ == "__main__":
    main()
