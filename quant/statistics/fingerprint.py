"""What a statistic depends on, as digests: of the network, the images, and the settings that concern it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import astuple
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from emqlang import __version__
from emqlang.grammar.inputs import INPUTS, Axis
from emqlang.quant.bits.menu import act_widths, weight_widths
from emqlang.quant.networks.network import Network
from emqlang.quant.statistics.subject import Subject

# what reads labels, what draws by the seed, and what has probes
LOSSES = frozenset(
    {
        "grad",
        "fisher",
        "fisher_qerr",
        "hess",
        "hess_trace",
        "hess_eig",
        "grad_act",
        "fisher_act",
        "loss_inc",
    }
)
SEEDED = frozenset(
    {"hess", "hess_trace", "hess_eig", "act", "grad_act", "act_qerr", "out_mse", "kl", "loss_inc"}
)
PROBED = frozenset({"hess", "hess_trace"})


def digest(*facts: Any) -> str:
    """32 hex digits of BLAKE2b over plain facts."""
    return blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()


def of_network(network: Network) -> str:
    """Of its weights, its modules, the code of their classes, and what its layers and groups are.

    What it returned for its example tells of the rest: buffers outside the state dict, plain attributes, code elsewhere.
    """
    found = network.collection
    groups = [[group.name, group.layers, group.main] for group in found.groups]
    layers = [[layer.name, layer.shape] for layer in found.layers]
    kinds: set[type[nn.Module]] = {type(module) for module in network.module.modules()}
    code = sorted(map(_source, kinds))
    told = network.weights_sha256, network.answer_sha256, repr(network.module)
    return digest(*told, code, layers, groups, found.macs, found.act_numel)


def of_images(subject: Subject) -> str:
    """Of the images as the network meets them."""
    return _of_tensor(subject.images)


def of_statistic(subject: Subject, name: str, images: str) -> str:
    """The key of one statistic: everything that its values depend on."""
    return digest(name, *_facts(subject, name, images))


def of_all(subject: Subject, network: str, images: str) -> str:
    """Of everything: equal for two collections only if whatever they both hold has equal values."""
    keys = [of_statistic(subject, name, images) for name in sorted(INPUTS)]
    return digest(network, len(subject.images), [str(choice) for choice in subject.menu], keys)


def _facts(subject: Subject, name: str, images: str) -> Iterator[Any]:
    settings = subject.settings
    yield __version__
    yield torch.__version__
    yield subject.device.type
    if INPUTS[name].needs_data:
        yield images
    if name in LOSSES:
        yield (
            settings.loss if isinstance(settings.loss, str) else id(settings.loss)
        )  # an object of this process; not cached
        yield (
            settings.seed
            if settings.loss == "self"
            else None
            if subject.given is None
            else _of_tensor(subject.given)
        )
    if name in SEEDED:
        yield settings.seed
    if name in PROBED:
        yield settings.hessian_samples
    axis = INPUTS[name].axis
    if axis in (Axis.WEIGHT_BITS, Axis.CHOICE):
        yield astuple(settings.quantizer)
    yield {
        Axis.NONE: None,
        Axis.WEIGHT_BITS: weight_widths(subject.menu),
        Axis.ACT_BITS: act_widths(subject.menu),
        Axis.CHOICE: [str(choice) for choice in subject.menu],
    }[axis]


def _of_tensor(tensor: Tensor) -> str:
    shape = f"{tensor.dtype} {list(tensor.shape)}".encode()
    data = tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data
    return blake2b(data, key=blake2b(shape, digest_size=16).digest(), digest_size=16).hexdigest()


def _source(kind: type[nn.Module]) -> str:
    """A class's name, and a digest of the file that it is written in unless it is torch's or has none."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    if kind.__module__.split(".")[0] == "torch":
        return name
    if kind.__module__ in _OWN_CODE:
        return name + _OWN_CODE[kind.__module__]
    try:
        return name + blake2b(Path(inspect.getfile(kind)).read_bytes(), digest_size=16).hexdigest()
    except (OSError, TypeError):
        return name


# Of our own networks, whose answers are in the fingerprint anyway, digests that stay when their files are edited:
# runs and caches outlive that. A network that computes something else gets a new one.
_OWN_CODE: Final[Mapping[str, str]] = {
    "emqlang.quant.models.resnet": "273fcfa9d32803463d273dfccf3a77c9",
    "emqlang.quant.models.mobilenet": "78df65dba77eb931c4b8a99ecd6d49ca",
    "emqlang.quant.models.vgg": "3c1ea59b9a5d4b89494e0ce68075fe01",
}
