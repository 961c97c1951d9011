"""The user's own batches: a callable or an iterable that gives any nest of tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from emqlang.grammar.diagnostics import EmqError, error
from emqlang.quant.networks.batches import held, listed, rows
from emqlang.quant.networks.nested import children, leaves, mapped, structure, tensors
from emqlang.quant.networks.signature import Signature
from emqlang.quant.user_code import Iterated, foreign, load_object

LONGEST: Final = 100_000  # rows of a loader that has no length


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

    def fed(self, batch: Any) -> dict[Any, Tensor]:
        """The tensors that the network is given, by place or parameter. Raises E304."""
        arguments, named = self.signature.inputs(batch)
        parts = (*enumerate(arguments), *named.items())
        return {
            (key, place): leaf for key, part in parts for place, leaf in enumerate(tensors(part))
        }

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


def read_batches(reference: str, wanted: Wanted, *, whole: bool = False) -> Iterator[Any]:
    """Checked batches of a loader, as it gives them; a row without a first axis becomes a batch.

    whole  all of them are wanted: a loader that does not say how many it has may give LONGEST rows
    Raises E301 for a loader that is not there, E304 for one that fails, does not fit or has no end.
    """
    labelled: bool | None = None
    batches = _open(reference)
    left = LONGEST if whole and not hasattr(batches, "__len__") else None
    for number, given in enumerate(_iterated(reference, batches)):
        where = f"batch {number} of {reference}"
        batch = _with_rows(given, wanted)
        batch = _of_one(batch) if tensors(batch) and rows(batch) == 1 else batch
        check_inputs(batch, wanted, where)
        has_labels = _check_labels(batch, wanted.signature, where)
        if labelled not in (None, has_labels):
            has = "has" if has_labels else "lacks"
            raise error("E304", f"{where} {has} labels, unlike those before")
        labelled = has_labels
        if left is not None:
            left -= rows(batch)
            if left < 0:
                raise endless(reference)
        yield batch


def check_several(batches: Any, what: str) -> None:
    """Raises E304 for the tensors of one batch in place of several batches.

    Those of a list differ at most in their last rows; inputs and labels differ in kind.
    """
    if not isinstance(batches, list | tuple) or len(batches) < 2:
        return
    if not all(isinstance(part, Tensor) and part.ndim for part in batches):
        return
    same_rows = len({len(part) for part in batches}) == 1
    if same_rows and (isinstance(batches, tuple) or len({structure(b) for b in batches}) > 1):
        message = f"{what} is a {type(batches).__name__} of {len(batches)} tensors: one batch"
        raise error("E304", message, "give a list of batches: [batch]")


def check_workers(batches: Any, what: str) -> None:
    """Raises E304 where each of a loader's workers gives all rows of its IterableDataset.

    Workers give batches by turns, and their datasets are copies.
    """
    if not isinstance(batches, DataLoader) or not isinstance(batches.dataset, IterableDataset):
        return
    if batches.num_workers < 2:
        return
    parts = [tensors(batch) for batch in islice(Iterated(batches, "E304", what), 2)]
    for first, second in pairwise(parts):
        if len(first) == len(second) and all(map(torch.equal, first, second)):
            message = f"{what} gives every row {batches.num_workers} times, once for each worker"
            help = "let the dataset ask torch.utils.data.get_worker_info() for its part"
            raise error("E304", message, help, "or take one worker")


def endless(what: str) -> EmqError:
    """E304 for a loader that has given LONGEST rows, and has no length."""
    message = f"{what} has given {LONGEST:,} rows, and does not end"
    return error("E304", message, "let it end, or have a length: a list, or an object with __len__")


def first_batch(reference: str) -> Any:
    """A copy of a loader's first batch. Raises E301, E304 for one without tensors, or for none."""
    for batch in _iterated(reference, _open(reference)):
        if not tensors(batch):
            raise without_tensors(batch, f"batch 0 of {reference}")
        return held([batch])[0]
    raise error("E304", f"the loader {reference} gives no batches")


def _open(reference: str) -> Iterable[Any]:
    """What a reference names: an iterable, or a callable that returns one.

    Raises E304 for what can be gone through but once: data are read more often than that.
    """
    loader = load_object(reference)
    if isinstance(loader, Iterator):
        message = f"{reference} can be gone through only once: it is a {type(loader).__name__}"
        raise error("E304", message, "name the function that makes it, or a list of batches")
    with foreign("E304", f"the loader {reference}"):
        batches: Iterable[Any] = loader() if callable(loader) else loader
    if isinstance(batches, Iterator) and _RETURNED.get(reference) is batches:
        message = f"{reference} returns the same {type(batches).__name__} each time"
        raise error("E304", message, "let it make a new one in every call")
    _RETURNED[reference] = batches
    check_several(batches, reference)
    check_workers(batches, reference)
    return batches


_RETURNED: dict[str, Iterable[Any]] = {}  # by a reference when it was last called


def _iterated(reference: str, batches: Iterable[Any]) -> Iterable[Any]:
    return Iterated(batches, "E304", f"the loader {reference}")


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
        raise without_tensors(wanted.signature.parts(batch), where)
    for leaf in found:
        if leaf.is_meta:
            raise error("E304", f"{where} holds a tensor without values, on the device 'meta'")
    if not rows(batch):
        raise error("E304", f"{where} has no rows")
    if wanted.signature.own is None and not listed(batch):  # lists hold images of any size
        for leaf, shape, kind in _compared(found, batch, wanted, where):
            _check_fit(leaf, shape, kind, where)


def _compared(
    found: list[Tensor], batch: Any, wanted: Wanted, where: str
) -> Iterator[tuple[Tensor, tuple[int, ...], torch.dtype | None]]:
    """Every input with the row's shape and type that are known of it.

    Of inputs by keyword, those that a batch and the example both have. Raises E304 for another
    number of inputs by position.
    """
    if wanted.example is None:
        yield found[0], wanted.shape, None
        return
    here, known = wanted.fed(batch), wanted.fed(wanted.example)
    if here.keys().isdisjoint(known.keys()):  # one by position, and one by keyword
        here, known = (dict(enumerate(each.values())) for each in (here, known))
    placed = [{key for key in each if not _is_named(key)} for each in (here, known)]
    if placed[0] != placed[1]:
        message = f"{where} has {len(here)} tensors of inputs, and the network takes {len(known)}"
        raise error("E304", message, FORWARD)
    for key in (key for key in here if key in known):
        yield here[key], tuple(known[key].shape[1:]), known[key].dtype


def _is_named(key: Any) -> bool:
    return isinstance(key, tuple) and isinstance(key[0], str)


def _check_fit(leaf: Tensor, shape: tuple[int, ...], kind: torch.dtype | None, where: str) -> None:
    """Raises E304 for an input of other rows or type: whole numbers may have any length."""
    numbers = leaf.is_floating_point() or leaf.is_complex()
    fits = len(leaf.shape[1:]) == len(shape) if not numbers else leaf.shape[1:] == shape
    if not fits:
        theirs, size = "x".join(map(str, leaf.shape)), "x".join(map(str, ("N", *shape)))
        raise error("E304", f"the inputs of {where} are {theirs}, and the network takes {size}")
    if kind is not None and kind != leaf.dtype and (numbers or kind.is_floating_point):
        message = f"the inputs of {where} are {leaf.dtype}, and the network takes {kind}"
        raise error("E304", message, f"convert them in the loader: .to({kind})", FORWARD)


FORWARD = "say how a batch is fed: --forward file.py:function"


def _check_labels(batch: Any, signature: Signature, where: str) -> bool:
    """Whether there are labels. E304 for numbers that are not in a tensor, or not one per row."""
    labels = signature.labels(batch)
    if labels is None or signature.own is not None:
        return labels is not None
    inside = children(labels)
    plain = [x for x in (inside or {0: labels}).values() if isinstance(x, (int, float, str))]
    if plain:
        help = "make a tensor of class numbers in the loader: torch.as_tensor"
        raise error("E304", f"the labels of {where} are {_kind(labels)}, not a tensor", help)
    if isinstance(labels, Tensor) and (not labels.ndim or len(labels) != rows(batch)):
        count, size = tuple(labels.shape), rows(batch)
        raise error("E304", f"the labels of {where} have shape {count}, and it has {size} rows")
    return True


def without_tensors(batch: Any, where: str) -> EmqError:
    """E304 for a batch, or those parts of one that are inputs."""
    part = next(leaves(batch), batch)
    help = ["batches are tensors, or tuples, lists, mappings or dataclasses that hold some"]
    if hasattr(part, "__array__"):
        help = ["make tensors of them in the loader: torch.as_tensor"]
    return error("E304", f"{where} holds no tensor of inputs, but {_kind(part)}", *help)


def _kind(thing: Any) -> str:
    return f"a {type(thing).__name__}"
