"""A network run on batches of the user's data, and their rows.

A batch stays what the user gave; `Signature` says how a network is fed one. Rows are images, or
whatever else the first dimension counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final
from zlib import crc32

import torch
from torch import Tensor, nn

from emqlang.grammar.diagnostics import error
from emqlang.quant.networks.nested import children, leaves, mapped, rebuilt, structure, tensors
from emqlang.quant.networks.signature import Forward, Signature
from emqlang.quant.user_code import foreign

RECORDED: Final = 2  # rows of a batch on which a network of the user's own is recorded
SAMPLED: Final = 1024  # values of a tensor that decide what is drawn


def feed(model: nn.Module, batch: Any) -> Any:
    """What a network of which nothing else is known returns for a batch."""
    return Signature.of(model).forward(model, batch)


def run(model: nn.Module, batch: Any, forward: Forward, seed: int = 0) -> Any:
    """What the network returns for a copy of the batch, which its code may write to.

    What it draws at random depends on the batch and the seed alone. Raises E304 for nested tensors,
    E308, naming the batch's shape, where its code fails.
    """
    shapes = " and ".join(str(tuple(leaf.shape)) for leaf in _leaves(batch)) or "no tensor"
    batch = mapped(torch.clone, batch)
    what = f"the forward of {type(model).__name__} on an input of shape {shapes}"
    with foreign("E308", what, seed=_seed(batch, seed)):
        return forward(model, batch)


def backward() -> AbstractContextManager[None]:
    """Around every gradient: the network's own code may run in it. Raises E308 where it fails."""
    return foreign("E308", "the network's backward", seed=0)


def pass_through(model: nn.Module, batch: Any, forward: Forward, seed: int = 0) -> Any:
    """What the network returns for a batch moved to its weights' device. Raises E308 as `run`."""
    home = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    if home.type != "cpu":
        batch = mapped(lambda leaf: leaf.to(home), batch)
    return run(model, batch, forward, seed)


def labels_of(batch: Any, signature: Signature | None = None) -> Tensor | None:
    """The labels of a batch for a network of this signature, if it has any."""
    labels = (signature or Signature()).labels(batch)
    return labels if isinstance(labels, Tensor) else None


def no_labels(batch: Any, signature: Signature) -> str:
    """Why `labels_of` finds none."""
    found = signature.labels(batch)
    if found is None:
        return "the data has no labels"
    numbers = hasattr(type(found), "__array__") or all(isinstance(x, int) for x in leaves(found))
    makes = ": torch.as_tensor makes one of them" if numbers else ""
    return f"the labels are a {type(found).__name__}, not a tensor{makes}"


def rows(batch: Any) -> int:
    """How many images are in a batch: the length of its first tensor, or of its lists.

    Raises E304 for nested tensors.
    """
    if count := listed(batch):
        return count
    return next((len(leaf) for leaf in _leaves(batch) if leaf.ndim), 1)


def listed(batch: Any) -> int:
    """How many entries the lists of a batch have, one for each row; 0 of a batch of tensors.

    So detectors are fed: a list of images of any size, and a list of one mapping of targets each.
    """
    parts = [part for part in (children(batch) or {}).values() if isinstance(part, (tuple, list))]
    targets = [part for part in parts if part and all(isinstance(x, Mapping) for x in part)]
    return len(targets[0]) if targets and all(len(part) == len(targets[0]) for part in parts) else 0


def slice_rows(batch: Any, start: int, stop: int) -> Any:
    """Some rows of a batch; what does not have a row per image stays whole."""
    size = rows(batch)
    if listed(batch):
        return _of_lists(batch, lambda part: part[start:stop])

    def cut(leaf: Tensor) -> Tensor:
        if not _has_rows(leaf, size):
            return leaf
        if leaf.layout == torch.strided:
            return leaf[start:stop]
        with foreign("E304", "taking rows of a sparse tensor"):
            return leaf.index_select(0, torch.arange(size)[start:stop])

    return mapped(cut, batch)


def held(batches: Iterable[Any]) -> list[Any]:
    """Copies of all batches: a loader may fill the same tensors with the next."""
    return [mapped(torch.clone, batch) for batch in batches]


def rows_at(batch: Any, places: Tensor) -> Any:
    """The rows of a batch at these places; what does not have a row per image stays whole."""
    size = rows(batch)
    if listed(batch):
        return _of_lists(batch, lambda part: [part[place] for place in places.tolist()])
    return mapped(lambda leaf: leaf[places] if _has_rows(leaf, size) else leaf, batch)


def take(data: Iterable[Any], images: int | None) -> list[Any]:
    """The first rows of the data as batches, everything if None. Raises E304 if there are fewer."""
    batches = held(first_rows(data, images))
    available = sum(map(rows, batches))
    if available < (images or 1):
        message = "the data has no images"
        if images:
            message = f"{images:,} images are asked for, and the data has {available:,}"
        raise error("E304", message, f"give more data, or ask for fewer: images={available}")
    return batches


def chunks(batches: Iterable[Any], size: int) -> list[Any]:
    """The same rows in batches of at most `size`."""
    return [
        slice_rows(batch, start, start + size)
        for batch in batches
        for start in range(0, rows(batch), size)
    ]


def join(batches: Iterable[Any], count: int) -> Any:
    """The first `count` rows as one batch.

    Batches whose rows have another shape than the first's are passed over, and those of which
    something without a row per image is another.
    """
    parts: list[Any] = []
    for batch in batches:
        missing = count - sum(map(rows, parts))
        if missing <= 0:
            break
        if not parts or _alike(batch, parts[0]):
            parts.append(slice_rows(batch, 0, missing))
    size = rows(parts[0])
    if listed(parts[0]):
        return _of_lists(parts[0], lambda part: part, parts[1:])

    def one(first: Tensor, *rest: Tensor) -> Tensor:
        return torch.cat([first, *rest]) if rest and _has_rows(first, size) else first

    return mapped(one, *parts)


def _of_lists(
    batch: Any, function: Callable[[Sequence[Any]], Sequence[Any]], others: Sequence[Any] = ()
) -> Any:
    """A batch of lists with each of them changed, and those of other batches behind it."""
    parts = children(batch) or {}
    beside = [children(other) or {} for other in others]
    return rebuilt(
        batch,
        {
            key: [*function(part), *(entry for other in beside for entry in other[key])]
            if isinstance(part, (tuple, list))
            else part
            for key, part in parts.items()
        },
    )


def dense(leaf: Tensor) -> Tensor:
    """The values of a tensor that may be sparse."""
    return leaf if leaf.layout == torch.strided else leaf.to_dense()


def _leaves(batch: Any) -> list[Tensor]:
    """The tensors of a batch."""
    leaves = tensors(batch)
    if any(leaf.is_nested for leaf in leaves):
        help = "pad them to one shape, with a mask if the network takes one"
        raise error("E304", "a batch holds a nested tensor, of rows of several shapes", help)
    return leaves


def _seed(batch: Any, seed: int) -> int:
    """32 bits that depend on what is in a batch: a sample of each tensor's values."""
    for leaf in tensors(batch):
        if leaf.layout != torch.strided or leaf.is_meta or leaf.is_quantized:
            continue
        flat = leaf.detach().resolve_conj().resolve_neg().flatten()
        values = flat[:: max(1, len(flat) // SAMPLED)].cpu().contiguous()
        seed = crc32(values.view(torch.uint8).numpy().data, seed)
    return seed


def first_rows(data: Iterable[Any], images: int | None) -> Iterator[Any]:
    left = images
    for batch in data:
        size = rows(batch)
        if left is not None and size >= left:
            yield batch if size == left else slice_rows(batch, 0, left)
            return
        left = None if left is None else left - size
        yield batch


def _has_rows(leaf: Tensor, size: int) -> bool:
    return leaf.ndim > 0 and len(leaf) == size


def _alike(a: Any, b: Any) -> bool:
    """Whether two batches can be joined: lists are, whatever is in them."""
    if listed(a) or listed(b):
        return bool(listed(a) and listed(b))
    if structure(a) != structure(b):
        return False
    sizes = rows(a), rows(b)
    pairs = zip(tensors(a), tensors(b), strict=True)
    return all(
        (_has_rows(one, sizes[0]) and _has_rows(other, sizes[1])) or torch.equal(one, other)
        for one, other in pairs
    )
