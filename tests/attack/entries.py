"""How networks of the zoo are entered: each is a factory and a loader in the module that has it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ROWS = 32
RUNS: dict[str, Path] = {}  # to be scored, assigned, quantized and evaluated
REFUSED: dict[str, Path] = {}  # to be refused with a sentence
MORE: dict[str, tuple[str, ...]] = {}  # options that a network takes


def entry(
    build: Callable[[], nn.Module],
    inputs: Callable[[int], Any],
    labels: Callable[[int], Any] | None,
    *more: str,
    runs: bool = True,
) -> None:
    """Makes `NAME()` and `NAME_data()` of a network, named after the function that builds it."""
    name = build.__name__.strip("_").lower()
    module = vars(sys.modules[build.__module__])

    def factory() -> tuple[nn.Module, Any]:
        torch.manual_seed(0)
        return build(), inputs(2)

    def data() -> Iterator[Any]:
        torch.manual_seed(1)
        given = inputs(ROWS)
        marks = labels(ROWS) if labels else None
        if isinstance(given, Mapping):
            yield given if marks is None else type(given)({**given, "labels": marks})
        elif isinstance(given, tuple):
            yield given if marks is None else (*given, marks)
        else:
            yield given if marks is None else (given, marks)

    module[name], module[f"{name}_data"], MORE[name] = factory, data, more
    (RUNS if runs else REFUSED)[name] = Path(module["__file__"])


def flat(rows: int) -> Tensor:
    return torch.randn(rows, 16)


def images(rows: int) -> Tensor:
    return torch.randn(rows, 1, 8, 8)


def tokens(rows: int) -> Tensor:
    return torch.randint(0, 50, (rows, 6))


def classes(rows: int) -> Tensor:
    return torch.randint(0, 10, (rows,))


def numbers(rows: int) -> Tensor:
    return torch.randn(rows, 1)


def per_token(rows: int) -> Tensor:
    return torch.randint(0, 50, (rows, 6))


class Wrapped(nn.Module):
    """A network from its parts and a function of them and the input."""

    def __init__(self, forward: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.function = forward

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(self, *args, **kwargs)


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 10))
