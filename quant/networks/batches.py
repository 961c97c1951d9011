"""What a batch of the user's data holds, and how a network is given it.

A batch is a tensor of inputs; or a tuple or list of inputs, labels and anything more; or a dict, its labels under one of
LABEL_KEYS. Rows are images, or whatever else the first dimension counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from emqlang.grammar.diagnostics import error
from emqlang.quant.data.loader import LABEL_KEYS
from emqlang.quant.networks.tracing import Forward, run, tensors


def feed(model: nn.Module, batch: Any) -> Any:
    """The usual forward: inputs without labels; of a dict, its one tensor, or else every entry by name."""
    if isinstance(batch, Mapping):
        given = {key: value for key, value in batch.items() if key not in LABEL_KEYS}
        return model(**given) if len(given) > 1 else model(*given.values())
    return model(batch[0]) if isinstance(batch, Sequence) else model(batch)


def pass_through(model: nn.Module, batch: Any, forward: Forward) -> Any:
    """What the network returns for a batch, moved to where its weights are. Raises E308 where its code fails."""
    home = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    moved = (
        batch
        if home.type == "cpu"
        else tree_map(lambda leaf: leaf.to(home) if isinstance(leaf, Tensor) else leaf, batch)
    )
    return run(model, moved, forward)


def labels_of(batch: Any) -> Tensor | None:
    """The labels of a batch, if it has any."""
    if isinstance(batch, Mapping):
        found = next((batch[key] for key in LABEL_KEYS if key in batch), None)
    else:
        found = batch[1] if isinstance(batch, Sequence) and len(batch) > 1 else None
    return found if isinstance(found, Tensor) else None


def logits_of(outputs: Any) -> Tensor:
    """The scores in what a network returns: itself, its `logits`, or its first tensor."""
    named = (
        outputs.get("logits") if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
    )
    leaves = tensors(named if isinstance(named, Tensor) else outputs)
    if not leaves or not leaves[0].is_floating_point():
        raise error(
            "E308", f"the network returned {type(outputs).__name__}, in which there are no scores"
        )
    return leaves[0]


def rows(batch: Any) -> int:
    """How many images are in a batch."""
    return next((len(leaf) for leaf in tensors(batch) if leaf.ndim), 1)


def take(data: Iterable[Any], images: int | None) -> list[Any]:
    """The first `images` rows of the data as batches; everything if None. Raises E304 if there are fewer, or none."""
    taken = [tree_map(_ordinary, batch) for batch in _first(data, images)]
    have = sum(map(rows, taken))
    if have < (images or 1):
        asked = (
            f"{images:,} images are asked for, and the data has {have:,}"
            if images
            else "the data has no images"
        )
        raise error("E304", asked, "give more data, or ask for fewer images")
    return taken


def _ordinary(leaf: Any) -> Any:
    """A tensor that was made in inference mode, copied: what is learned from it needs gradients."""
    return leaf.clone() if isinstance(leaf, Tensor) and leaf.is_inference() else leaf


def slice_rows(batch: Any, start: int, stop: int) -> Any:
    """Some rows of a batch."""
    size = rows(batch)
    return tree_map(
        lambda leaf: (
            leaf[start:stop]
            if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == size
            else leaf
        ),
        batch,
    )


def _first(data: Iterable[Any], images: int | None) -> Iterator[Any]:
    left = images
    for batch in data:
        size = rows(batch)
        if left is not None and size >= left:
            yield batch if size == left else slice_rows(batch, 0, left)
            return
        left = None if left is None else left - size
        yield batch


def chunks(batches: Iterable[Any], size: int) -> list[Any]:
    """The same rows in batches of at most `size`."""
    return [part for batch in batches for part in _cut(batch, size)]


def _cut(batch: Any, size: int) -> Iterator[Any]:
    count = rows(batch)
    for start in range(0, count, size):
        yield slice_rows(batch, start, min(start + size, count))


def join(batches: Iterable[Any], count: int) -> Any:
    """The first `count` rows of the batches whose rows have the shape of the first's, as one batch; what has no row an
    image is the first batch's."""
    parts: list[Any] = []
    for batch in batches:
        have = sum(map(rows, parts))
        if have >= count:
            break
        if not parts or _shapes(batch) == _shapes(parts[0]):
            parts.append(slice_rows(batch, 0, min(rows(batch), count - have)))
    size = rows(parts[0])

    def one(first: Any, *rest: Any) -> Any:
        whole = isinstance(first, Tensor) and first.ndim and len(first) == size
        return torch.cat([first, *rest]) if whole and rest else first

    return tree_map(one, *parts)


def _shapes(batch: Any) -> list[tuple[int, ...]]:
    """The shape of one row of every tensor."""
    return [tuple(leaf.shape[1:]) for leaf in tensors(batch)]
