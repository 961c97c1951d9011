"""Nests of tensors in the containers that users have: leaves, and copies of the same type."""

from __future__ import annotations

from collections import OrderedDict, UserDict, defaultdict, namedtuple
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from emqlang.quant.networks.nested import mapped, structure, tensors


@dataclass
class Output:
    logits: Tensor
    note: str = "kept"


@dataclass(frozen=True)
class Frozen:
    x: Tensor
    rest: tuple[Tensor, int]


class Defined:
    """As attrs makes it, which need not be installed."""

    __attrs_attrs__ = SimpleNamespace(name="x"), SimpleNamespace(name="count")

    def __init__(self, x: Tensor) -> None:
        self.x, self.count = x, 3


class Encoding(UserDict[str, Any]):
    """As tokenizers return it."""


class Answers(OrderedDict[str, Any]):
    """As model libraries return it: a dict with attributes."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


class Rows(list[Any]):
    pass


Pair = namedtuple("Pair", "inputs labels")
A, B = torch.arange(6.0).reshape(3, 2), torch.tensor([1, 2, 3])
NESTS: dict[str, Any] = {
    "tensor": A,
    "tuple": (A, B),
    "list": [A, [B, "text"]],
    "dict": {"x": A, "y": {"z": B}},
    "defaultdict": defaultdict(list, x=A, y=B),
    "mapping proxy": MappingProxyType({"x": A, "y": B}),
    "user dict": Encoding(input_ids=B, attention_mask=A),
    "ordered dict with attributes": Answers(logits=A, hidden=(B,)),
    "named tuple": Pair(A, B),
    "dataclass": Output(A),
    "frozen dataclass": Frozen(A, (B, 7)),
    "class of attrs": Defined(A),
    "subclass of list": Rows([A, B]),
    "what torch.max returns": torch.max(A, 1),
}


@pytest.mark.parametrize("name", NESTS)
def test_every_tensor_is_found_and_replaced(name: str) -> None:
    tree = NESTS[name]
    before = [leaf.clone() for leaf in tensors(tree)]
    doubled = mapped(lambda leaf: leaf * 2, tree)
    assert before and all(
        torch.equal(new, 2 * old) for new, old in zip(tensors(doubled), before, strict=True)
    )
    assert all(torch.equal(a, b) for a, b in zip(tensors(tree), before, strict=True)), "a copy"
    assert isinstance(doubled, dict if name == "mapping proxy" else type(tree))


def test_what_is_no_tensor_is_kept() -> None:
    assert mapped(lambda leaf: leaf + 1, Output(A)).note == "kept"
    assert mapped(lambda leaf: leaf + 1, {"x": A, "names": ["a", "b"]})["names"] == ["a", "b"]
    tree = {"sizes": [1, 2], "name": "n"}
    assert mapped(lambda leaf: leaf + 1, tree) is tree


def test_attributes_follow_the_keys() -> None:
    sliced = mapped(lambda leaf: leaf[:1], NESTS["ordered dict with attributes"])
    assert torch.equal(sliced.logits, A[:1]) and isinstance(sliced, Mapping)


def test_several_nests_of_one_structure_are_joined() -> None:
    joined = mapped(lambda a, b: torch.cat([a, b]), Pair(A, B), Pair(A, B))
    assert (
        isinstance(joined, Pair) and joined.inputs.shape == (6, 2) and joined.labels.shape == (6,)
    )


def test_structure_tells_what_can_be_joined() -> None:
    assert structure({"x": A}) == structure({"x": A[:1]})
    assert structure({"x": A}) != structure({"x": A[:, :1]})
    assert structure({"x": A}) != structure({"y": A})
    assert structure((A,)) != structure((A.half(),))
    assert structure((A, 1.0)) != structure((A, 2.0))
    assert structure((A, "one")) == structure((A, "other"))
