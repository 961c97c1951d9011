"""How networks are given batches: by position, by keyword, and never their labels."""

from __future__ import annotations

from collections import UserDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.networks.signature import Signature

X, Z, Y = torch.zeros(2, 3), torch.ones(2, 3), torch.tensor([0, 1])


class One(nn.Module):
    def forward(self, x: Tensor) -> Any:
        return x


class Two(nn.Module):
    def forward(self, x: Tensor, z: Tensor) -> Any:
        return x, z


class Masked(nn.Module):
    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return input_ids, attention_mask


class Paired(nn.Module):
    def forward(self, x: Tensor, *, y: Tensor) -> Any:
        return x, y


class Loose(nn.Module):
    def forward(self, **named: Tensor) -> Any:
        return named


@dataclass
class Record:
    x: Tensor
    z: Tensor
    target: Tensor


@dataclass
class Graph:
    nodes: Tensor
    edges: Tensor


graph = Graph(X, Z)


@pytest.mark.parametrize(
    ("module", "batch", "given", "labels"),
    [
        (One, X, X, None),
        (One, (X, Y), X, Y),
        (One, [X], X, None),
        (One, (X, Y, "names"), X, Y),
        (One, {"pixels": X, "label": Y}, X, Y),
        (One, {"image": X, "mask": Z, "target": Y}, X, Y),
        (One, ([X, Z], Y), [X, Z], Y),
        (One, graph, graph, None),
        (Two, (X, Z, Y), (X, Z), Y),
        (Two, ((X, Z), Y), (X, Z), Y),
        (Two, ({"z": Z, "x": X}, Y), (X, Z), Y),
        (Two, {"x": X, "z": Z, "boxes": Y}, (X, Z), None),
        (Two, Record(X, Z, Y), (X, Z), Y),
        (Two, (X, Z), (X, Z), None),
        (Masked, (X, Y), (X, None), Y),
        (Masked, UserDict(input_ids=X, attention_mask=Z, labels=Y), (X, Z), Y),
        (Masked, {"attention_mask": Z, "input_ids": X}, (X, Z), None),
        (Masked, ({"attention_mask": Z, "input_ids": X}, Y), (X, Z), Y),
        (Paired, {"x": X, "y": Z, "label": Y}, (X, Z), Y),
        (Loose, {"a": X, "b": Z, "y": Y}, {"a": X, "b": Z}, Y),
    ],
)
def test_a_batch_is_given_by_position_or_by_keyword(
    module: type[nn.Module], batch: Any, given: Any, labels: Tensor | None
) -> None:
    net = module()
    signature = Signature.of(net)
    found = signature.forward(net, batch)
    pairs = [(found, given)] if isinstance(given, Tensor) else None
    if isinstance(given, dict):
        assert found.keys() == given.keys()
        pairs = [(found[key], given[key]) for key in given]
    elif pairs is None:
        pairs = (
            [(found, given)] if isinstance(given, Graph) else list(zip(found, given, strict=True))
        )
    assert all(one is other for one, other in pairs)
    assert signature.labels(batch) is labels


@pytest.mark.parametrize(
    ("module", "example", "batch", "given"),
    [
        (Masked, (X, Z), (X, Z, Y), (X, Z)),  # both, though one may be left out
        (Masked, X, (X, Y), (X, None)),
        (
            Masked,
            {"input_ids": X, "attention_mask": Z},
            {"attention_mask": Z, "input_ids": X},
            (X, Z),
        ),
    ],
)
def test_an_example_of_the_arguments_says_how_many_there_are(
    module: type[nn.Module], example: Any, batch: Any, given: Any
) -> None:
    net = module()
    signature = Signature.of(net, example)
    assert all(
        one is other for one, other in zip(signature.forward(net, example), given, strict=True)
    )
    assert all(
        one is other for one, other in zip(signature.forward(net, batch), given, strict=True)
    )
    assert signature.labels(batch) is (Y if isinstance(batch, tuple) else None)


def test_names_that_the_forward_does_not_know_are_refused() -> None:
    net = Masked()
    with pytest.raises(EmqError, match="'ids', 'mask', and the network's forward takes"):
        Signature.of(net).forward(net, {"ids": X, "mask": Z, "labels": Y})


def test_a_forward_that_is_not_written_in_python_takes_one_input() -> None:
    net = One()
    net.forward = 3  # type: ignore[assignment]
    assert Signature.of(net) == Signature()


class Labelled(NamedTuple):
    label: Tensor
    features: Tensor


class Tripled(NamedTuple):
    left: Tensor
    y: Tensor
    right: Tensor


@dataclass(frozen=True)
class Sample:
    features: Tensor
    y: Tensor


@pytest.mark.parametrize(
    ("net", "batch", "given"),
    [
        (One(), Labelled(Y, X), [X]),  # labels first
        (Two(), Tripled(X, Y, Z), [X, Z]),  # between the inputs
        (nn.Identity(), Sample(X, Y), [X]),  # the parameter is called `input`
        (One(), {"inputs": {"features": X}, "labels": Y}, [X]),
    ],
)
def test_labels_are_known_by_name_wherever_they_are(
    net: nn.Module, batch: Any, given: list[Tensor]
) -> None:
    signature = Signature.of(net)
    arguments, named = signature.inputs(batch)
    assert [each is wanted for each, wanted in zip(arguments, given, strict=True)] and not named
    assert signature.labels(batch) is Y


def test_inputs_may_be_in_a_mapping_of_their_own() -> None:
    batch = {"inputs": {"input_ids": X, "attention_mask": Z, "length": X}, "labels": Y}
    assert Signature.of(Masked()).inputs(batch) == ([], {"input_ids": X, "attention_mask": Z})
