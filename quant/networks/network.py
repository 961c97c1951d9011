"""Networks made ready: found by name, given weights, copied, adapted, recorded, and their batch norms folded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from emqlang.grammar.diagnostics import Diagnostic, EmqError, error, nearest
from emqlang.quant.data.datasets import told_shape
from emqlang.quant.models import MODELS, ModelSpec
from emqlang.quant.networks import weights as stored
from emqlang.quant.networks.adapters import adapt
from emqlang.quant.networks.folding import fold
from emqlang.quant.networks.layers import Collection, collected, record
from emqlang.quant.networks.tracing import Forward, call, run, tensors
from emqlang.quant.user_code import foreign, load_object

SHOWN = 5  # names listed in one warning


@dataclass(frozen=True, eq=False)
class Network:
    """A copy of a network in eval mode, its batch norms folded where proven, with its layers and where its weights come from.

    weights          'embedded', 'pretrained', 'random, seed S', 'factory', 'given', or a path
    weights_sha256   of the state dict before anything was folded or adapted; `parameters` counts them there too
    input_shape      of one image, without the batch; `example` is the batch it was recorded with
    classes          number of logits
    answer_sha256    of what the network, as it was given, returned for the example
    folded           batch norm -> the layer it was folded into; `unfolded` ones stay
    spec             of a built-in network
    warnings         W603, W605, W606, W608
    forward          how an example is fed to the module
    """

    name: str
    module: nn.Module
    collection: Collection
    weights: str
    weights_sha256: str
    parameters: int
    input_shape: tuple[int, ...]
    classes: int
    answer_sha256: str
    folded: Mapping[str, str]
    unfolded: tuple[str, ...]
    spec: ModelSpec | None
    warnings: tuple[Diagnostic, ...]
    example: Any
    forward: Forward


def load(text: str, weights: str | None = None, *, seed: int = 0, data: str = "") -> Network:
    """A built-in network by name, or one that `package.module:factory` or `file.py:factory` returns.

    A factory takes no arguments. It returns a module, or a module and an example batch; without one, an image of the
    module's own `input_shape` stands in for it.

    weights  'pretrained', 'random' or a path; by default what is shipped with the network or what its factory gives, else
             official weights where they can be had, else random ones, with W603
    data     what it will be given, as `load_data` takes it: tells the shape of an image where a factory does not
    Raises E301, E302, E305 to E309.
    """
    spec = MODELS.get(text)
    if spec is None:
        module, example = _manufactured(text, seed, data)
        label = _factory_weights(module, weights, seed)
    else:
        module, example = spec.build(seed), _noise(spec.images.shape, seed)
        label = _spec_weights(module, spec, weights, seed)
    return prepare(module, example, name=text, weights=label, spec=spec)


def prepare(
    module: nn.Module,
    example: Any,
    *,
    name: str = "",
    weights: str = "given",
    spec: ModelSpec | None = None,
    forward: Forward | None = None,
    tied: Sequence[Sequence[str]] | None = None,
) -> Network:
    """A network of your own, made ready; the module itself is left as it is.

    example  a batch: a tensor, a tuple of arguments or a dict of named ones; or whatever `forward(module, example)` takes
    tied     lists of layers that share one choice, the main one first; default the module's own `tied_layers`, if any
    weights  a label for outputs
    Raises E302 for weights that are not finite, E306, E308, E309.
    """
    forward = forward or call
    model = _copied(module, example, forward)
    state = {key: value for key, value in model.state_dict().items() if isinstance(value, Tensor)}
    stored.check_finite(state)
    digest, parameters = (
        stored.sha256(state),
        sum(parameter.numel() for parameter in model.parameters()),
    )
    model = adapt(model)
    seen = record(model, example, forward)
    collection = collected(model, seen, tied)
    folded, unfolded = fold(
        model, collection.layers, seen, lambda: _output(model, example, forward)
    )
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    images, logits = (
        _first(example, "the example"),
        _first(seen.result, f"what {type(module).__name__} returns"),
    )
    return Network(
        name=name or type(module).__name__,
        module=model,
        collection=collection,
        weights=weights,
        weights_sha256=digest,
        parameters=parameters,
        input_shape=tuple(images.shape[1:]),
        classes=logits.shape[min(1, logits.ndim - 1)] if logits.ndim else 1,
        answer_sha256=stored.sha256(
            {str(place): leaf for place, leaf in enumerate(tensors(seen.result))}
        ),
        folded=folded,
        unfolded=unfolded,
        spec=spec,
        warnings=tuple(_warnings(weights, collection, unfolded, parameters)),
        example=example,
        forward=forward,
    )


def _copied(module: nn.Module, example: Any, forward: Forward) -> nn.Module:
    """A copy in eval mode; what it lazily makes of its first input is made."""
    with foreign("E308", f"copying {type(module).__name__}"):
        model = deepcopy(module).eval()
    if any(is_lazy(parameter) for parameter in model.parameters()):
        _output(model, example, forward)
    return model


def _output(model: nn.Module, example: Any, forward: Forward) -> Any:
    with torch.no_grad():
        return run(model, example, forward)


def _first(tree: Any, what: str) -> Tensor:
    found = tensors(tree)
    if not found:
        raise error("E308", f"{what} holds no tensor")
    return found[0]


def _noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """One image of standard normal values."""
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))


def _manufactured(text: str, seed: int, data: str) -> tuple[nn.Module, Any]:
    """What a factory returns: a module and an example of what it takes."""
    if ":" not in text:
        forms = "`emqlang models` lists them; your own network is file.py:factory or package.module:factory"
        raise error("E305", f"there is no built-in network '{text}'", *nearest(text, MODELS), forms)
    factory = load_object(text)
    if not callable(factory):
        raise error("E305", f"{text} is no function that returns a network")
    with torch.random.fork_rng(devices=[]), foreign("E305", f"calling {text}"):
        torch.manual_seed(seed)
        made = factory()
        module, example = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
        if not isinstance(module, nn.Module):
            raise error("E305", f"{text} returned {type(module).__name__}, not a torch.nn.Module")
    if example is None:
        example = _noise(getattr(module, "input_shape", None) or told_shape(data), seed)
    return module, example


def _spec_weights(module: nn.Module, spec: ModelSpec, weights: str | None, seed: int) -> str:
    """Put the wanted weights into a freshly built network; returns their label."""
    embedded = spec.embedded_path
    if weights is None and embedded is not None and embedded.is_file():
        stored.install(module, stored.read(embedded), str(embedded))
        return "embedded"
    if weights == "random":
        return f"random, seed {seed}"
    if weights not in (None, "pretrained"):
        return _file_weights(module, weights)
    try:
        if not spec.checkpoint:
            raise error(
                "E307",
                f"there are no official weights of '{spec.name}'",
                "leave --weights out, or give a path",
            )
        stored.install(module, stored.pretrained(spec.url, spec.checkpoint), spec.checkpoint)
        return "pretrained"
    except EmqError as failure:
        if weights is None and failure.diagnostics[0].code == "E307":
            return f"random, seed {seed}"
        raise


def _factory_weights(module: nn.Module, weights: str | None, seed: int) -> str:
    if weights is None:
        return "factory"
    if weights == "pretrained":
        raise error(
            "E307",
            "only built-in networks have official weights",
            "let the factory load them, or give --weights PATH",
        )
    if weights != "random":
        return _file_weights(module, weights)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in module.modules():
            if callable(reset := getattr(part, "reset_parameters", None)):
                reset()
    return f"random, seed {seed}"


def _file_weights(module: nn.Module, path: str) -> str:
    stored.install(module, stored.read(Path(path)), path)
    return path


def _warnings(
    weights: str, collection: Collection, unfolded: Sequence[str], parameters: int
) -> Iterator[Diagnostic]:
    if weights.startswith("random"):
        help = ("give trained ones with --weights PATH",)
        yield Diagnostic(
            "W603",
            f"the weights are {weights}: scores are those of an untrained network",
            help=help,
        )
    if collection.uncovered:
        macs = sum(entry.macs for entry in collection.uncovered) / max(1, collection.total_macs)
        numel = sum(entry.numel for entry in collection.uncovered) / max(1, parameters)
        names = _listed([entry.name for entry in collection.uncovered])
        yield Diagnostic(
            "W605",
            f"{macs:.1%} of the MACs and {numel:.1%} of the parameters lie outside the known layers and stay at 32 bits: {names}",
        )
    if unfolded:
        yield Diagnostic("W606", f"batch norms that were not folded: {_listed(unfolded)}")
    if collection.unreached:
        yield Diagnostic(
            "W608", f"layers that the forward never uses, left out: {_listed(collection.unreached)}"
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:SHOWN]) + more
