"""What a statistic depends on, as digests: the network, the images and the options in question."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from emqlang import __version__
from emqlang.grammar.inputs import INPUTS, Axis
from emqlang.quant.bits.menu import act_widths, weight_widths
from emqlang.quant.networks.batches import dense, labels_of
from emqlang.quant.networks.nested import structure, tensors
from emqlang.quant.networks.network import Network
from emqlang.quant.networks.rows import Rows
from emqlang.quant.statistics.kinds import LOSSES, PROBED, ROUNDED, SEEDED, SHIFTS
from emqlang.quant.statistics.subject import Subject


def digest(*facts: Any) -> str:
    """32 hex digits of BLAKE2b over plain values."""
    return blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()


def of_network(network: Network) -> str:
    """Of its weights, its modules, the code of their classes, and what its layers and groups are.

    What it returned for its example stands for the rest: buffers outside the state dict, plain
    attributes, code elsewhere.
    """
    collection = network.collection
    groups = [[group.name, group.layers, group.main] for group in collection.groups]
    layers = [[layer.name, layer.shape] for layer in collection.layers]
    kinds: set[type[nn.Module]] = {type(module) for module in network.module.modules()}
    code = sorted(map(_source, kinds))
    module = network.weights_sha256, network.answer_sha256, repr(network.module)
    return digest(*module, code, layers, groups, collection.macs, collection.act_numel)


def of_images(images: Rows, network: Network) -> str:
    """Of the images as the network meets them."""
    signature = network.signature
    if not len(images):
        return _of_tensor(torch.empty(0, *network.input_shape))
    part = signature.parts if signature.own is None else lambda batch: batch
    return _of_parts(images, part) or ""


def of_statistic(subject: Subject, name: str, images: str) -> str:
    """The key of one statistic: everything that its values depend on."""
    return digest(name, *_facts(subject, name, images))


def of_all(subject: Subject, network: str, images: str) -> str:
    """Of everything: equal for two collections only if whatever they both hold has equal values."""
    keys = [of_statistic(subject, name, images) for name in sorted(INPUTS.keys() - SHIFTS)]
    if subject.options.label_draws:  # of all else that shifts depend on, others do too
        keys.append(f"{subject.options.label_draws} label draws")
    return digest(network, len(subject.images), [str(choice) for choice in subject.menu], keys)


def _facts(subject: Subject, name: str, images: str) -> Iterator[Any]:
    options = subject.options
    yield __version__
    yield torch.__version__
    yield subject.device.type
    if INPUTS[name].needs_data:
        yield images
    if name in SHIFTS and options.label_draws:
        yield "label draws", options.label_draws, options.seed
    elif name in LOSSES:
        yield from _labels(subject)
    if name in SEEDED:
        yield options.seed
    if name in PROBED:
        yield options.hessian_samples
    axis = INPUTS[name].axis
    if axis in (Axis.WEIGHT_BITS, Axis.CHOICE):
        yield astuple(options.quantizer)
    if name in ROUNDED:
        yield from subject.rounding.facts
    yield {
        Axis.NONE: None,
        Axis.WEIGHT_BITS: weight_widths(subject.menu),
        Axis.ACT_BITS: act_widths(subject.menu),
        Axis.CHOICE: [str(choice) for choice in subject.menu],
    }[axis]


def _labels(subject: Subject) -> Iterator[Any]:
    """The loss, and what its labels depend on."""
    loss, signature = subject.options.loss, subject.network.signature
    yield loss if isinstance(loss, str) else id(loss)  # an object of this process is not cached
    if loss == "self":
        yield subject.options.seed
    else:
        yield _of_parts(subject.images, lambda batch: labels_of(batch, signature))


def _of_parts(rows: Rows, part: Callable[[Any], Any]) -> str | None:
    """Of this part of all rows; None where there is none."""
    parts = [part(batch) for *_, batch in rows.chunks(max(1, len(rows)))]
    keys = [[_of_tensor(leaf) for leaf in tensors(each)] for each in parts]
    if len(keys) == 1 and len(keys[0]) == 1:
        return keys[0][0]
    shapes = [repr(structure(each)) for each in parts]
    return digest(keys, shapes) if any(keys) else None


def _of_tensor(tensor: Tensor) -> str:
    shape = f"{tensor.dtype} {list(tensor.shape)}".encode()
    data = dense(tensor.detach()).cpu().reshape(-1).view(torch.uint8).numpy().data
    return blake2b(data, key=blake2b(shape, digest_size=16).digest(), digest_size=16).hexdigest()


def _source(kind: type[nn.Module]) -> str:
    """A class's name, with a digest of the file that it is written in unless that is torch's."""
    module = kind.__module__
    if module in _OWN_CODE:
        module, source = _OWN_CODE[module]
        return f"{module}.{kind.__qualname__}{source}"
    name = f"{module}.{kind.__qualname__}"
    if module.split(".")[0] == "torch":
        return name
    try:
        return name + blake2b(Path(inspect.getfile(kind)).read_bytes(), digest_size=16).hexdigest()
    except (OSError, TypeError):  # it has no file
        return name


# Our own modules, whose answers are in the fingerprint anyway, keep the names and digests that they
# had first, so that runs and caches outlive edits. One that computes something else gets a new one.
_OWN_CODE: Final[Mapping[str, tuple[str, str]]] = {
    f"emqlang.quant.{now}": (f"emqlang.quant.{first}", source)
    for now, first, source in (
        ("models.resnet", "models.resnet", "273fcfa9d32803463d273dfccf3a77c9"),
        ("models.mobilenet", "models.mobilenet", "78df65dba77eb931c4b8a99ecd6d49ca"),
        ("models.vgg", "models.vgg", "3c1ea59b9a5d4b89494e0ce68075fe01"),
        ("networks.adapters", "adapters", "41a6a691167130aafb656858ba8e3916"),
    )
}
