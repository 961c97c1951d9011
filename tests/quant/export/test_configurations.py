"""Configurations of other quantizers: what is in them, and what they refuse."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import networks
import pytest
import torch
from subjects import recipe_for
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.bits.allocation import AllocatedLayer, Allocation, find_allocation
from emqlang.quant.export import FORMATS
from emqlang.quant.export.subject import Export, Settings, Subject
from emqlang.quant.networks.network import prepare
from emqlang.quant.ptq.quantize import quantize
from emqlang.quant.ptq.recipe import Procedure

NAMES = ("model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj", "lm_head")


def allocation(*choices: str, names: tuple[str, ...] = NAMES) -> Allocation:
    bits = [float(number[0]) if (number := re.findall(r"\d+", each)) else 4.5 for each in choices]
    rows = zip(names, choices, bits, strict=True)
    return Allocation({name: AllocatedLayer(choice, b, 1024) for name, choice, b in rows})


def write(format: str, chosen: Allocation, path: Path, partial: bool = False) -> Export:
    return FORMATS[format].write(chosen, path, Settings(partial=partial))


def test_gptqmodel_names_each_layer_once_and_leaves_the_rest_in_float(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    export = write("gptqmodel", allocation("W4", "4g128", "F16"), file)
    record = json.loads(file.read_text())
    dynamic = record["dynamic"]
    assert not export.ignored and record["bits"] == 4
    for name, held in zip(NAMES, (-1, 128, None), strict=True):
        (rule,) = [rule for rule in dynamic if re.match(rule[2:], name)]
        assert rule[0] == ("+" if held else "-")
        assert dynamic[rule] == ({"bits": 4, "group_size": held} if held else {})


def test_autoround_says_what_stays_in_float(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    export = write("autoround", allocation("W3", "W5", "int8-g64"), file, partial=True)
    rows = json.loads(file.read_text())["layer_config"]
    assert [rows[name]["bits"] for name in NAMES] == [3, 16, 8]
    assert rows[NAMES[2]]["group_size"] == 64
    assert export.ignored == {NAMES[1]: "5 bits: AutoRound has 2, 3, 4, 8"}


def test_what_is_not_held_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    with pytest.raises(EmqError, match=r"does not hold 2 layers.*up_proj.*'lm_head'") as failure:
        write("gptqmodel", allocation("W4", "W5", "mixed"), file)
    assert failure.value.exit_status == 2 and not file.exists()
    with pytest.raises(EmqError, match="no layer is left"):
        write("gptqmodel", allocation("W5", "W6", "W7"), file, partial=True)


def test_gguf_types_by_name_and_by_bits(tmp_path: Path) -> None:
    file = tmp_path / "types.txt"
    write("gguf", allocation("iq4_xs", "W6", "F16"), file)
    assert file.read_text().splitlines() == [
        r"^blk\.0\.attn_q\.weight$=IQ4_XS",
        r"^blk\.0\.ffn_up\.weight$=Q6_K",
        r"^output\.weight$=F16",
    ]
    patterns = [line.split("=")[0] for line in file.read_text().splitlines()]
    found = [bool(re.search(pattern, "blk.0.attn_output.weight")) for pattern in patterns]
    assert not any(found)  # of which `output` is a part
    names = ("blk.10.ffn_down.weight", "fc", "blk.0.attn_q")
    export = write("gguf", allocation("W4", "W4", "W7", names=names), file, partial=True)
    assert file.read_text() == "^blk\\.10\\.ffn_down\\.weight$=Q4_K\n"
    assert set(export.ignored) == {"fc", "blk.0.attn_q"}


def test_an_allocation_is_told_from_other_files(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    allocation("W4", "W4", "W4").save(file)
    assert find_allocation(file) == allocation("W4", "W4", "W4")
    assert find_allocation(tmp_path) is None and find_allocation(tmp_path / "no") is None
    file.write_text('{"schema": "emqlang-recipe"}')
    assert find_allocation(file) is None
    file.write_text('{"schema": "emqlang-allocation", "schema_version": 1, "layers": 3}')
    with pytest.raises(EmqError, match="the allocation, layers: expected `object`"):
        find_allocation(file)


class Attending(nn.Module):
    """Its attention's projections are layers only to us."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.attention(x, x, x, need_weights=False)[0]
        return self.head(mixed.mean(1))  # type: ignore[no-any-return]


def test_projections_of_attention_are_no_layers_elsewhere(tmp_path: Path) -> None:
    network = prepare(networks.seeded(Attending), torch.randn(2, 3, 8))
    recipe = recipe_for(network, 4)
    data = [torch.randn(8, 3, 8)]
    made = partial(quantize, network, recipe, data, Procedure(images=8))
    subject = Subject(network, recipe, made, lambda: data)  # type: ignore[arg-type,return-value]
    with pytest.raises(EmqError, match=r"'attention.out_proj': GPTQModel .* not Multi"):
        FORMATS["gptqmodel"].write(subject, tmp_path / "g", Settings())
    done = FORMATS["gptqmodel"].write(subject, tmp_path / "g", Settings(partial=True))
    assert len(done.ignored) == 4 and "+:^attention" not in (tmp_path / "g").read_text()
    with pytest.raises(EmqError, match="MultiheadAttention of this is split"):
        FORMATS["compressed-tensors"].write(subject, tmp_path / "c", Settings(partial=True))
