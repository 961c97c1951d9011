"""Digests of tensors, whatever their memory looks like."""

from __future__ import annotations

import torch

from emqlang.quant import sealed


def test_the_stride_of_a_single_element_does_not_matter() -> None:
    plain = torch.tensor([[7]], dtype=torch.int32)
    odd = torch.tensor([[7, 0, 0, 0]], dtype=torch.int32)[:, :1].T.contiguous()
    assert odd.stride() != plain.stride()
    assert sealed.digest_of({"a": odd}) == sealed.digest_of({"a": plain})
