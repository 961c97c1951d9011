"""The user's own batches: a callable or an iterable that gives any nest of tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from emqlang.grammar.diagnostics import error
from emqlang.quant.networks.batches import held, rows
from emqlang.quant.networks.nested import children, mapped, tensors
from emqlang.quant.networks.signature import Signature
from emqlang.quant.user_code import foreign, load_object


@dataclass(frozen=True)
class Wanted:
    """What a network takes.

    shape    of one image, or of whatever else its first input holds for one row
    example  a batch that it has been run on; None if only the shape is known
    """

    shape: tuple[int, ...]
    example: Any = None
    signature: Signature = field(default_factory=Signature)

    def inputs(self, batch: Any) -> list[Tensor]:
        """The tensors of a batch that the network is given, or may be given."""
        return tensors(batch if self.signature.own is not None else self.signature.parts(batch))

    def rows(self) -> list[tuple[tuple[int, ...], torch.dtype | None]]:
        """The shape and type of one row of every input; no type if only a shape is known."""
        if self.example is None:
            return [(self.shape, None)]
        return [(tuple(leaf.shape[1:]), leaf.dtype) for leaf in self.inputs(self.example)]

    @property
    def precision(self) -> torch.dtype:
        """The type of images of ours: that of the network's own, if it takes fractions."""
        found = [] if self.example is None else self.inputs(self.example)
        return next((leaf.dtype for leaf in found if leaf.is_floating_point()), torch.float32)


def read_batches(reference: str, wanted: Wanted) -> Iterator[Any]:
    """Checked batches of a loader, as it gives them; a row without a first axis becomes a batch.

    Raises E301 for a loader that is not there, E304 for one that fails or does not fit.
    """
    labelled: bool | None = None
    for number, given in enumerate(iterate(reference)):
        where = f"batch {number} of {reference}"
        batch = _with_rows(given, wanted)
        batch = _of_one(batch) if tensors(batch) and rows(batch) == 1 else batch
        check_inputs(batch, wanted, where)
        has_labels = _check_labels(batch, wanted.signature, where)
        if labelled not in (None, has_labels):
            has = "has" if has_labels else "lacks"
            raise error("E304", f"{where} {has} labels, unlike those before")
        labelled = has_labels
        yield batch


def first_batch(reference: str) -> Any:
    """A copy of a loader's first batch, None if it has none. Raises E301, E304."""
    for batch in iterate(reference):
        return held([batch])[0]
    return None


def iterate(reference: str) -> Iterator[Any]:
    """The batches of what a reference names: an iterable, or a callable that returns one."""
    loader = load_object(reference)
    with foreign("E304", f"the loader {reference}"):
        batches = iter(_called(loader))
    end = object()
    while True:
        with foreign("E304", f"the loader {reference}"):
            batch = next(batches, end)
        if batch is end:
            return
        yield batch


def _called(loader: Any) -> Iterable[Any]:
    called: Iterable[Any] = loader() if callable(loader) else loader
    return called


def _with_rows(batch: Any, wanted: Wanted) -> Any:
    """The batch; one row of a data set, which lacks the first axis, as a batch of one."""
    found, known = wanted.inputs(batch), wanted.rows()
    found = found if wanted.example is not None else found[:1]
    if not found or [leaf.ndim for leaf in found] != [len(shape) for shape, _ in known]:
        return batch
    return mapped(lambda leaf: leaf[None], batch)


def _of_one(batch: Any) -> Any:
    """A batch of one row, of which numbers are labels of one row, too."""
    if type(batch) in (tuple, list):
        return type(batch)(torch.tensor([x]) if _is_number(x) else x for x in batch)
    if isinstance(batch, Mapping) and any(_is_number(x) for x in batch.values()):
        return {key: torch.tensor([x]) if _is_number(x) else x for key, x in batch.items()}
    return batch


def _is_number(thing: Any) -> bool:
    return isinstance(thing, (int, float)) and not isinstance(thing, bool)


def check_inputs(batch: Any, wanted: Wanted, where: str) -> None:
    """Raises E304 for a batch without rows, or with inputs of another shape or type."""
    if isinstance(batch, (tuple, list)) and not batch:
        raise error("E304", f"{where} is empty")
    found = wanted.inputs(batch)
    if not found:
        part = wanted.signature.parts(batch) if wanted.signature.own is None else batch
        while isinstance(part, (tuple, list)) and part:
            part = part[0]
        raise error("E304", f"{where} holds no tensor of inputs, but {_kind(part)}")
    for leaf in found:
        if leaf.is_meta:
            raise error("E304", f"{where} holds a tensor without values, on the device 'meta'")
    if not rows(batch):
        raise error("E304", f"{where} has no rows")
    if wanted.signature.own is None:
        _check_fit(found, wanted, where)


def _check_fit(found: list[Tensor], wanted: Wanted, where: str) -> None:
    """The inputs beside what the network is known to take: whole numbers may have any length."""
    known = wanted.rows()
    found = found if wanted.example is not None else found[:1]
    if len(found) != len(known):
        message = f"{where} has {len(found)} tensors of inputs, and the network takes {len(known)}"
        raise error("E304", message, *_FORWARD)
    for leaf, (shape, kind) in zip(found, known, strict=True):
        numbers = leaf.is_floating_point() or leaf.is_complex()
        fits = len(leaf.shape[1:]) == len(shape) if not numbers else leaf.shape[1:] == shape
        if not fits:
            theirs, size = "x".join(map(str, leaf.shape)), "x".join(map(str, ("N", *shape)))
            raise error("E304", f"the inputs of {where} are {theirs}, and the network takes {size}")
        if kind is not None and kind != leaf.dtype and (numbers or kind.is_floating_point):
            message = f"the inputs of {where} are {leaf.dtype}, and the network takes {kind}"
            raise error("E304", message, f"convert them in the loader: .to({kind})", *_FORWARD)


_FORWARD = ("or say how a batch is fed: --forward file.py:function",)


def _check_labels(batch: Any, signature: Signature, where: str) -> bool:
    """Whether there are labels. E304 for numbers that are not in a tensor, or not one per row."""
    labels = signature.labels(batch)
    if labels is None or signature.own is not None:
        return labels is not None
    inside = children(labels)
    plain = [x for x in (inside or {0: labels}).values() if isinstance(x, (int, float, str))]
    if plain:
        raise error("E304", f"the labels of {where} are {_kind(labels)}, not a tensor")
    if isinstance(labels, Tensor) and (not labels.ndim or len(labels) != rows(batch)):
        count, size = tuple(labels.shape), rows(batch)
        raise error("E304", f"the labels of {where} have shape {count}, and it has {size} rows")
    return True


def _kind(thing: Any) -> str:
    return f"a {type(thing).__name__}"
