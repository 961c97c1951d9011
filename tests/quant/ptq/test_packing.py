"""Codes as a dense stream of bits: the layout to the bit, and back."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from emqlang.quant.ptq.packing import pack, packed_size, unpack


@st.composite
def weights(draw: st.DrawFn) -> tuple[list[int], int]:
    bits = draw(st.integers(1, 8))
    return draw(st.lists(st.integers(0, (1 << bits) - 1), max_size=40)), bits


@given(weights())
def test_the_stream_is_one_long_number(case: tuple[list[int], int]) -> None:
    codes, bits = case
    number = sum(code << place * bits for place, code in enumerate(codes))
    stream = pack(torch.tensor(codes, dtype=torch.uint8), bits)
    assert bytes(stream.tolist()) == number.to_bytes(packed_size(len(codes), bits), "little")
    assert unpack(stream, bits, len(codes)).tolist() == codes


def test_three_bits_take_three() -> None:
    codes = torch.randint(8, (64, 3, 3), generator=torch.Generator().manual_seed(0)).byte()
    assert pack(codes, 3).nbytes == 64 * 3 * 3 * 3 // 8
    assert torch.equal(unpack(pack(codes, 3), 3, codes.numel()).reshape(codes.shape), codes)
