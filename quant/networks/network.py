"""Networks made ready: found by name, given weights, copied, adapted, traced and folded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from operator import index
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from emqlang.grammar.diagnostics import Diagnostic, EmqError, error, nearest
from emqlang.quant.data.datasets import example_of, load_data
from emqlang.quant.data.images import IMAGENET, ImageFormat, is_shape, parse_shape
from emqlang.quant.data.loader import Wanted
from emqlang.quant.models import MODELS, ModelSpec
from emqlang.quant.networks.adapters import adapt, bare
from emqlang.quant.networks.batches import RECORDED, rows, run, slice_rows
from emqlang.quant.networks.facts import NetworkFacts
from emqlang.quant.networks.folding import fold, same
from emqlang.quant.networks.independence import variation
from emqlang.quant.networks.layers import Collection, collect
from emqlang.quant.networks.looks import look
from emqlang.quant.networks.nested import mapped, tensors
from emqlang.quant.networks.notices import listed, notices
from emqlang.quant.networks.plain import leaves
from emqlang.quant.networks.signature import Forward, Signature
from emqlang.quant.networks.weights import check_finite, factory_weights, sha256, spec_weights
from emqlang.quant.user_code import foreign, load_object

LAZY_SEED: Final = 0
MADE: Final = f"random, seed {LAZY_SEED}, where the forward makes them"  # label of such weights
Given = str | Iterable[Any]  # data: a name, or batches


@dataclass(frozen=True, eq=False)
class Network:
    """A copy of a network in eval mode, with its layers, its batch norms folded where proven.

    weights          'embedded', 'pretrained', 'random, seed S', 'factory', 'given', or a path
    weights_sha256   of the state dict before anything was folded or adapted
    parameters       how many there are then
    input_shape      of one image, without the batch
    classes          number of logits
    answer_sha256    of what the network returned for the example before anything was folded
    folded           batch norm -> the layer it was folded into; `unfolded` ones stay
    spec             of a built-in network
    warnings         W603, W605, W606, W608, W614, W619, W621
    example          the batch that the network was traced with
    signature        which parts of a batch are its inputs and labels, and how they are fed
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
    signature: Signature

    @property
    def facts(self) -> NetworkFacts:
        """What outputs say of it, without the modules."""
        return NetworkFacts(
            self.name,
            self.weights,
            self.weights_sha256,
            self.parameters,
            self.warnings,
            self.collection.facts,
        )

    @property
    def forward(self) -> Forward:
        """What the module, or a copy of it, returns for a batch."""
        return self.signature.forward


def load(
    text: str,
    weights: str | None = None,
    *,
    seed: int = 0,
    data: Given = "",
    input: str = "",
    forward: Forward | None = None,
) -> Network:
    """A built-in network by name, or what `package.module:factory` or `file.py:factory` returns.

    A factory takes no arguments. It returns a module, or a module and an example batch; without
    one, an image of the module's own `input_shape` stands in for it, or a few rows of the data.

    weights  'pretrained', 'random', a path, or path:place of a state dict in the file; by default
             what is shipped with the network or what its factory gives, else official weights if
             available, else random ones, with W603
    data     what it will be given, batches or as `load_data` takes it: an example where a factory
             gives none, and rows that may use what the example does not
    input    the shape of an image, as 1x28x28, where the network itself does not say
    forward  the user's `forward(module, batch)`: then examples are batches for it
    Raises E301, E302, E305 to E309; E403 for a bad shape, or one that nobody asks for.
    """
    if not isinstance(text, str):
        help = "emq.collect and emq.quantize take a torch.nn.Module as it is"
        raise error("E305", f"the name of a network is a {type(text).__name__}", help)
    spec = MODELS.get(text)
    if spec is None:
        module, example = _made_by(text, seed)
        label, notes = factory_weights(module, weights, seed)
    else:
        module, example = spec.build(seed), _noise(spec.images.shape, seed)
        label, notes = spec_weights(module, spec, weights, seed)
    if example is not None and input:
        says = "the network has images of its own" if spec else "the factory gives an example"
        raise error("E403", f"--input is not used: {says}", "leave it out")
    known: Any = {"name": text, "weights": label, "notes": notes}
    if example is not None:
        signature = Signature.of(module, example, own=forward)
        return prepare_for(module, example, data, **known, spec=spec, signature=signature)
    known["signature"] = signature = Signature.of(module, own=forward)
    shape = (parse_shape(input) if input else None) or own_shape(module)
    batch = None
    if shape is None and isinstance(data, str):
        batch = example_of(data, signature)
    if isinstance(batch, torch.Size):
        shape = batch
    elif batch is not None:
        few = slice_rows(batch, 0, RECORDED)
        return prepare_for(module, few, data, **known)
    try:
        image = _noise(shape or IMAGENET.shape, seed)
        return prepare_for(module, image, data, **known)
    except EmqError as failure:
        if shape:
            raise
        raise _of_a_guess(failure) from failure


def own_shape(module: nn.Module) -> tuple[int, ...] | None:
    """The shape of an image as the module's own `input_shape` says it. Raises E305 for no shape."""
    with foreign("E305", "reading the network's input_shape"):
        said = getattr(module, "input_shape", None)
        try:
            sizes = None if said is None else tuple(map(index, said))
        except TypeError:
            sizes = ()
        if sizes is None or is_shape(sizes):
            return sizes
        message = f"the network's input_shape is {str(said)[:60]!r}, no shape of an image"
    raise error("E305", message, "let it be such as (1, 28, 28), without the batch")


def prepare_for(module: nn.Module, example: Any, data: Given, **settings: Any) -> Network:
    """As `prepare`; layers that the example does not use are looked for in the data.

    data  batches, or what `load_data` takes; nothing is read where the example uses every layer
    """
    if not isinstance(data, str):
        return prepare(module, example, more=lambda: data, **settings)
    network = prepare(module, example, **settings)
    if not data or not network.collection.unreached:
        return network
    images = ImageFormat.of(network.input_shape)
    wanted = Wanted(network.input_shape, network.example, network.signature)
    given = partial(load_data, data, images, network.classes, net=network.module, wanted=wanted)
    return prepare(module, example, more=given, **settings)


def _of_a_guess(failure: EmqError) -> EmqError:
    """A failure on an image whose shape nothing told: E308 says how to tell it."""
    help = (
        f"nothing says what the network takes, so it was given {IMAGENET.size}: "
        "say --input 1x28x28, or give --data or --test",
        "or let the factory return (module, example), or the module have an input_shape",
    )
    return EmqError(
        *(
            replace(each, help=(*each.help, *help)) if each.code == "E308" else each
            for each in failure.diagnostics
        )
    )


def prepare(
    module: nn.Module,
    example: Any,
    *,
    name: str = "",
    weights: str = "given",
    notes: Sequence[Diagnostic] = (),
    spec: ModelSpec | None = None,
    signature: Signature | None = None,
    forward: Forward | None = None,
    tied: Sequence[Sequence[str]] | None = None,
    more: Callable[[], Iterable[Any]] = tuple,
) -> Network:
    """A network of your own, made ready; the module itself is left as it is.

    example  the network's arguments: a tensor, a tuple or list of them, or a dict of named ones; or
             a batch for a given `signature`, or for `forward(module, batch)`
    tied     lists of layers that share one choice, the main one first; default the module's own
             `tied_layers`, if any
    more     gives batches to look at where the example does not reach every layer
    weights  a label for outputs; `notes` are warnings of them
    Raises E302 for weights that are not finite, E306, E308, E309.
    """
    module = bare(module)
    signature = signature or Signature.of(module, example, own=forward)
    forward = signature.forward
    model, weights = _copied(module, example, forward, weights)
    digest, parameters = _digest(model), sum(part.numel() for part in model.parameters())
    check_finite(dict((model := adapt(model)).named_parameters()))
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    traces, telling = look(model, example, more, forward)
    if _has_grown(model, sizes, weights):
        known: Any = {"name": name, "spec": spec, "signature": signature, "notes": notes}
        module = _run_once(module, example, forward)
        return prepare(module, example, weights=MADE, tied=tied, more=more, **known)
    collection = collect(model, traces, tied)
    before = (outputs := partial(_outputs, model, telling, forward))()
    varies = variation(same(before, lambda: outputs(seed=1)), model, example, forward)
    folded, reasons = fold(model, collection.layers, traces, before, outputs)
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    result, kind = traces[0].result, type(module).__name__
    images, logits = _first(example, "the example"), _first(result, f"what {kind} returns")
    return Network(
        name=name or kind,
        module=model,
        collection=collection,
        weights=weights,
        weights_sha256=digest,
        parameters=parameters,
        input_shape=tuple(images.shape[1:]),
        classes=logits.shape[min(1, logits.ndim - 1)] if logits.ndim else 1,
        answer_sha256=sha256({str(i): leaf for i, leaf in enumerate(tensors(result))}),
        folded=folded,
        unfolded=tuple(reasons),
        spec=spec,
        warnings=(*notes, *notices(weights, collection, reasons, sizes, varies)),
        example=example,
        signature=signature,
    )


def _copied(
    module: nn.Module, example: Any, forward: Forward, weights: str
) -> tuple[nn.Module, str]:
    """A copy in eval mode, and a label for its weights: another one if some were made here.

    Lazy modules make theirs of their first input: as drawn with LAZY_SEED, whatever the input.
    """
    _check_example(example)
    kind = type(module).__name__
    with foreign("E308", f"copying {kind}"):
        model = deepcopy(module, dict(leaves(module)))
        model.eval()
        _ = model.state_dict(), list(model.named_parameters())  # of a class that may override them
    if not any(is_lazy(each) for each in (*model.parameters(), *model.buffers())):
        return model, weights
    model = _run_once(model, example, forward)
    if any(is_lazy(each) for each in (*model.parameters(), *model.buffers())):
        help = "run the network once on what makes all of them, and give it trained weights"
        raise error("E308", f"a forward of {kind} leaves lazy modules without weights", help)
    return model, f"random, seed {LAZY_SEED}, in lazy modules"


def _run_once(module: nn.Module, example: Any, forward: Forward) -> nn.Module:
    """A copy whose first forward has made what it makes: as drawn with LAZY_SEED."""
    model = deepcopy(module, dict(leaves(module)))
    kind = type(module).__name__
    with foreign("E308", f"the first forward of {kind}", seed=LAZY_SEED), torch.no_grad():
        forward(model, mapped(torch.clone, example))
    return model


def _has_grown(model: nn.Module, sizes: Mapping[str, int], weights: str) -> bool:
    """Whether its forward has made parameters. Raises E308 if it does so again and again."""
    made = [name for name, _ in model.named_parameters() if name not in sizes]
    if made and weights == MADE:
        kind = type(model).__name__
        raise error("E308", f"every forward of {kind} makes other parameters: {listed(made)}")
    return bool(made)


def _check_example(example: Any) -> None:
    """Raises E308 for one that nothing can be computed of."""
    if any(leaf.is_meta for leaf in tensors(example)):
        raise error("E308", "the example is on the meta device, without values", "give real ones")
    if not rows(example):
        raise error(
            "E308", "the example has no rows", "give one, such as torch.zeros(1, 3, 32, 32)"
        )


def _digest(model: nn.Module) -> str:
    """Of its state dict. Raises E302 for weights that are not finite."""
    state = {key: value for key, value in model.state_dict().items() if isinstance(value, Tensor)}
    check_finite(state)
    return sha256(state)


def _outputs(
    model: nn.Module, batches: Sequence[Any], forward: Forward, seed: int = 0
) -> list[Any]:
    with torch.no_grad():
        return [run(model, batch, forward, seed) for batch in batches]


def _first(tree: Any, what: str) -> Tensor:
    leaves = tensors(tree)
    if not leaves:
        raise error("E308", f"{what} holds no tensor")
    return leaves[0]


def _noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """One image of standard normal values."""
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))


def _made_by(text: str, seed: int) -> tuple[nn.Module, Any]:
    """What a factory returns: a module and an example of what it takes, or None."""
    if ":" not in text:
        raise error(
            "E305",
            f"there is no built-in network '{text}'",
            *nearest(text, MODELS),
            "`emqlang models` lists them; "
            "your own network is file.py:factory or package.module:factory",
        )
    factory = load_object(text)
    if not callable(factory):
        raise error("E305", f"{text} is not a function that returns a network")
    with torch.random.fork_rng(devices=[]), foreign("E305", f"calling {text}"):
        torch.manual_seed(seed)
        made = factory()
        module, example = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
        if not isinstance(module, nn.Module):
            raise error("E305", f"{text} returned {type(module).__name__}, not a torch.nn.Module")
    return bare(module), example
