"""Small networks of the usual kinds that classify no images, with batches as users have them.

`file.py:name` of this file works as --model and --data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

BATCHES, ROWS = 2, 32


def seeded(kind: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval()


def generators() -> Iterator[torch.Generator]:
    return (torch.Generator().manual_seed(seed) for seed in range(BATCHES))


class Encoder(nn.Module):
    """Token ids and their mask to a dict of states and logits, as BERT. (N, T), (N, T) to (N, 3)"""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.layer = nn.Embedding(50, 16), nn.Linear(16, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        states = self.layer(self.table(input_ids)).relu()
        mask = attention_mask[..., None].float()
        pooled = (states * mask).sum(1) / mask.sum(1)
        return {"last_hidden_state": states, "logits": self.head(pooled)}


def encoder() -> nn.Module:
    return seeded(Encoder)


def sentences() -> Iterator[dict[str, Tensor]]:
    for generator, length in zip(generators(), (7, 9), strict=True):
        ids = torch.randint(0, 50, (ROWS, length), generator=generator)
        mask = torch.ones_like(ids)
        mask[:, 5:] = 0
        yield {"input_ids": ids, "attention_mask": mask, "labels": ids[:, 0] % 3}


def sentence_tuples() -> Iterator[tuple[Tensor, ...]]:
    return (tuple(batch.values()) for batch in sentences())


class Detector(nn.Module):
    """Two inputs to a dict of maps of boxes and of classes. (N, 3, H, W), (N,)"""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, padding=1)
        self.box, self.classify = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 5, 1)

    def forward(self, image: Tensor, scale: Tensor) -> dict[str, Tensor]:
        hidden = self.body(image).relu()
        boxes = self.box(hidden) * scale[:, None, None, None]
        return {"boxes": boxes, "classes": self.classify(hidden)}


def detector() -> nn.Module:
    return seeded(Detector)


def scenes() -> Iterator[dict[str, Tensor]]:
    for generator in generators():
        images = torch.randn(ROWS, 3, 6, 6, generator=generator)
        yield {"image": images, "scale": torch.rand(ROWS, generator=generator) + 1}


def labelled_scenes() -> Iterator[dict[str, Tensor]]:
    for batch in scenes():
        yield {**batch, "labels": batch["image"].argmax(1)}


def both(outputs: Any, batch: Any) -> Tensor:
    """The loss of a detector's two outputs, which are given exactly as they were returned."""
    assert set(outputs) == {"boxes", "classes"} and set(batch) == {"image", "scale", "labels"}
    return cross_entropy(outputs["classes"], batch["labels"]) + outputs["boxes"].abs().mean()


def look(model: nn.Module, batch: Any) -> Any:
    return model(batch["image"], batch["scale"])


class Tabular(nn.Module):
    """Numbers and a category. (N, 4), (N,) to (N, 2)"""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.layer = nn.Embedding(7, 8), nn.Linear(12, 16)
        self.head = nn.Linear(16, 2)

    def forward(self, numbers: Tensor, category: Tensor) -> Tensor:
        row = torch.cat([numbers, self.table(category)], 1)
        logits: Tensor = self.head(self.layer(row).relu())
        return logits


def bare_tabular() -> nn.Module:
    return seeded(Tabular)


def tabular() -> tuple[nn.Module, Any]:
    return bare_tabular(), (torch.zeros(2, 4), torch.zeros(2, dtype=torch.long))


def rows() -> Iterator[Any]:
    for generator in generators():
        category = torch.randint(0, 7, (ROWS,), generator=generator)
        yield (torch.randn(ROWS, 4, generator=generator), category), category % 2


def flat_rows() -> Iterator[Any]:
    return ((numbers, category, labels) for (numbers, category), labels in rows())


class Regression(nn.Module):
    """One number. (N, 8) to (N, 1)"""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(8, 32), nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        value: Tensor = self.head(self.layer(x).relu())
        return value


def regression() -> tuple[nn.Module, Any]:
    return seeded(Regression), torch.zeros(1, 8)


def measured() -> Iterator[Any]:
    for generator in generators():
        x = torch.randn(ROWS, 8, generator=generator)
        yield x, x.sum(1, keepdim=True)


def flat_measured() -> Iterator[Any]:
    return ((x, y[:, 0]) for x, y in measured())


def unmeasured() -> Iterator[Any]:
    return (x for x, _ in measured())


def mean_distance(outputs: Any, batch: Any) -> float:
    return float((outputs - batch[1].view_as(outputs)).abs().mean())


class Decoder(nn.Module):
    """Token ids to scores of the next. (N, T) to (N, T, 20)"""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.layer = nn.Embedding(20, 16), nn.Linear(16, 16)
        self.head = nn.Linear(16, 20)

    def forward(self, input_ids: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layer(self.table(input_ids)).relu())
        return logits


def decoder() -> nn.Module:
    return seeded(Decoder)


def texts() -> Iterator[dict[str, Tensor]]:
    for generator in generators():
        ids = torch.randint(0, 20, (ROWS, 9), generator=generator)
        yield {"input_ids": ids, "labels": ids.clone()}


def tagged_texts() -> Iterator[Any]:
    return ((batch["input_ids"], (batch["input_ids"] + 3) % 20) for batch in texts())


class Experts(nn.Module):
    """Each row goes to one of four experts, weighted by the gate. (N, 16) to (N, 10)"""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.head = nn.Linear(16, 4), nn.Linear(16, 10)
        self.experts = nn.ModuleList(nn.Linear(16, 16) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        shares = self.gate(x).softmax(1)
        chosen, out = shares.argmax(1), torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            here = chosen == i
            if here.any():
                out[here] = expert(x[here]) * shares[here, i : i + 1]
        logits: Tensor = self.head(out.relu())
        return logits


def experts() -> tuple[nn.Module, Any]:
    return seeded(Experts), torch.randn(64, 16, generator=torch.Generator().manual_seed(0))


def routed_rows() -> Iterator[Any]:
    for generator in generators():
        x = torch.randn(ROWS, 16, generator=generator)
        yield x, torch.randint(0, 10, (ROWS,), generator=generator)


def few_routed_rows() -> Iterator[Any]:
    return ((x[:1], labels[:1]) for x, labels in list(routed_rows())[:1])


class Bytes(nn.Module):
    """Images as they are stored. (N, 3, H, W) to (N, 3)"""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layer(x.float() / 255).relu().mean((2, 3)))
        return logits


def stored() -> nn.Module:
    return seeded(Bytes)


def pixels() -> Iterator[Any]:
    for generator in generators():
        x = torch.randint(0, 256, (ROWS, 3, 8, 8), generator=generator).to(torch.uint8)
        yield x, torch.randint(0, 3, (ROWS,), generator=generator)


def _narrow() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))


def half() -> nn.Module:
    return seeded(_narrow).half()


def double() -> nn.Module:
    return seeded(_narrow).double()


def halves() -> Iterator[Any]:
    return ((x.half(), (y[:, 0] > 0).long()) for x, y in measured())


def doubles() -> Iterator[Any]:
    return ((x.double(), (y[:, 0] > 0).long()) for x, y in measured())


@dataclass(frozen=True)
class Kind:
    """A network, its batches, and what `evaluate` finds of them.

    measure   by which it is judged
    figures   those that it has
    """

    model: Callable[[], Any]
    data: Callable[[], Iterator[Any]]
    measure: str
    figures: frozenset[str]
    predictions: int

    @property
    def module(self) -> nn.Module:
        return module_of(self.model)


def module_of(model: Callable[[], Any]) -> nn.Module:
    """The module that a factory returns, alone or with an example."""
    made = model()
    module: nn.Module = made[0] if isinstance(made, tuple) else made
    return module


def _kind(model: Any, data: Any, measure: str, figures: str, predictions: int) -> Kind:
    return Kind(model, data, measure, frozenset(figures.split()), predictions)


_LABELLED, _COMPARED, _ALL = "accuracy loss", "agreement kl", BATCHES * ROWS
KINDS = [
    _kind(encoder, sentences, "accuracy", f"{_LABELLED} {_COMPARED} relative_error", _ALL),
    _kind(encoder, sentence_tuples, "accuracy", f"{_LABELLED} {_COMPARED} relative_error", _ALL),
    _kind(detector, scenes, "agreement with float", f"{_COMPARED} relative_error", _ALL * 36),
    _kind(detector, labelled_scenes, "accuracy", f"{_LABELLED} {_COMPARED} relative_error", 0),
    _kind(tabular, rows, "accuracy", f"{_LABELLED} {_COMPARED}", _ALL),
    _kind(tabular, flat_rows, "accuracy", f"{_LABELLED} {_COMPARED}", _ALL),
    _kind(regression, measured, "fidelity", "loss relative_error", _ALL),
    _kind(regression, flat_measured, "fidelity", "loss relative_error", _ALL),
    _kind(regression, unmeasured, "fidelity", "relative_error", _ALL),
    _kind(decoder, texts, "accuracy", f"{_LABELLED} {_COMPARED}", _ALL * 8),
    _kind(decoder, tagged_texts, "accuracy", f"{_LABELLED} {_COMPARED}", _ALL * 9),
]
