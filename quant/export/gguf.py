"""Types of tensors for llama.cpp: the lines that `llama-quantize --tensor-type-file` reads.

Types and their blocks are those of the `gguf` package, names those that it writes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from emqlang.quant.export.entries import Entry

# type -> numbers in a block, which have to divide a row
BLOCKS: Final = {
    **dict.fromkeys(("F32", "F16", "BF16"), 1),
    **dict.fromkeys(("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "MXFP4"), 32),
    **dict.fromkeys(("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "TQ1_0", "TQ2_0"), 256),
    **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S"), 256),
    **dict.fromkeys(("IQ3_XXS", "IQ3_S", "IQ4_XS"), 256),
}
# bits -> types to take for them, the first that a row's length allows
BY_BITS: Final = {
    2: ("Q2_K",),
    3: ("Q3_K",),
    4: ("Q4_K", "Q4_0"),
    5: ("Q5_K", "Q5_0"),
    6: ("Q6_K",),
    8: ("Q8_0",),
}
# what a layer of transformers' LLaMA and its kin is called -> what GGUF calls its tensor
PARTS: Final = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
WHOLE: Final = {"lm_head": "output", "model.embed_tokens": "token_embd"}
_GGUF = re.compile(r"(blk\.\d+\.\w+|output|token_embd)(\.weight)?", re.ASCII)
_BLOCK = re.compile(r"model\.layers\.(\d+)\.(\w+\.\w+)", re.ASCII)


def refusal(entry: Entry) -> str:
    """Why llama.cpp has no type or no tensor for a layer; '' if it has."""
    if tensor(entry.name) is None:
        return "no tensor of GGUF has this name, as blk.0.attn_q or model.layers.0.mlp.up_proj"
    if kind(entry) is not None:
        return ""
    known = BY_BITS.get(entry.bits or 0)
    if known is None:
        close = get_close_matches(entry.choice.upper(), BLOCKS, cutoff=0.4)
        return f"llama.cpp has no type '{entry.choice}', but {', '.join(close or BLOCKS)}"
    return f"blocks of 256 do not divide its {entry.columns} columns, as {known[0]} needs"


def kind(entry: Entry) -> str | None:
    """The type of a layer's tensor: its choice by name, or one of as many bits."""
    named = entry.choice.upper()
    types = (named,) if named in BLOCKS else BY_BITS.get(entry.bits or 0, ())
    return next((each for each in types if entry.columns % BLOCKS[each] == 0), None)


def tensor(name: str) -> str | None:
    """GGUF's name of a layer's weight, without `.weight`; None if it has none."""
    if match := _GGUF.fullmatch(name):
        return match[1]
    if (match := _BLOCK.fullmatch(name)) and match[2] in PARTS:
        return f"blk.{match[1]}.{PARTS[match[2]]}"
    return WHOLE.get(name)


def lines(held: Sequence[Entry]) -> str:
    """One line per tensor. A name is a pattern that is searched for, and so has both its ends."""
    named = ((re.escape(str(tensor(entry.name))), kind(entry)) for entry in held)
    return "".join(f"^{name}\\.weight$={type}\n" for name, type in named)
