"""The Python API: statistics, scores, costs, bits, and the quantized network.

model    any `torch.nn.Module`, the name of a built-in network, or `file.py:factory`
data     any iterable of batches: a tensor of inputs; a tuple or list of inputs, labels and anything
         more; or a dict, its labels under one of `labels`, `label`, `targets`, `target`, `y`
forward  how the network is given a batch: `forward(model, batch)`
loss     what is to be small: `loss(outputs, batch)`, the mean over the rows, or one for each

What cannot be done raises `EmqError`; what a user should know of a network, its data or its scores
is a Python warning, `EmqWarning`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from torch import Tensor

from emqlang.api import arguments, networks, notebooks
from emqlang.api.arguments import CALIBRATION
from emqlang.api.networks import Data, Model
from emqlang.api.notices import warn
from emqlang.api.words import in_python
from emqlang.grammar import library
from emqlang.grammar.diagnostics import error
from emqlang.grammar.program import Program
from emqlang.quant.bits.budget import Budget
from emqlang.quant.data.datasets import Dataset
from emqlang.quant.export import is_checkpoint
from emqlang.quant.networks.network import Network
from emqlang.quant.networks.signature import Forward, Signature
from emqlang.quant.progress import Progress, silent
from emqlang.quant.ptq import evaluate as evaluation
from emqlang.quant.ptq import quantize as quantization
from emqlang.quant.ptq.quantized import Quantized, identity, read_recipe
from emqlang.quant.ptq.quantized import load_quantized as from_file
from emqlang.quant.ptq.recipe import Procedure, Recipe, check_fits, load_recipe
from emqlang.quant.ptq.rounding import RoundingProgress
from emqlang.quant.qat.job import Job
from emqlang.quant.qat.schedule import Settings, check_preset
from emqlang.scores.pipeline import Scores
from emqlang.tasks.claims import believed
from emqlang.tasks.eval import evaluate as evaluate_programs
from emqlang.tasks.evaluate import completed
from emqlang.tasks.problem import Constraints, Problem
from emqlang.tasks.workbench import ITERATIONS, Workbench, WorkbenchOptions, device_named

notebooks.attach()


@in_python
def collect(
    model: Model,
    data: Data | None = None,
    *,
    forward: Forward | None = None,
    loss: str | Callable[[Any, Any], Tensor] | None = None,
    bits: str | int | Sequence[int] = "2,3,4",
    menu: str | Sequence[str] | None = None,
    images: int | None = None,
    label_draws: int | None = None,
    hessian_samples: int = 32,
    rounding: str = "nearest",
    iterations: int = ITERATIONS,
    calib_images: int = CALIBRATION,
    device: str = "auto",
    seed: int = 0,
) -> Workbench:
    """The network made ready for its statistics, each of which is taken when first needed.

    data    its first images are used; a name as `--data` takes it; None for a network with
            its own, or if no proxy reads images. Your own network is recorded on the first rows,
            and on up to 1,024 more while it does not use all of its layers
    loss    'label', which is the default, 'self' for labels drawn from the network's own softmax,
            or a function
    images  None for 64, and for bits as many as the proxy's entry in the library says
    label_draws
            labels drawn from the softmax for each image, for `shift` and its like; None for the
            loss's own, and for bits, where no loss is given, what the proxy's entry says
    bits    weight bits to choose from, '2,3,4' or [2, 3, 4]; `menu` instead gives pairs such as
            'W2A8,W4A8'
    rounding
            of weights in statistics of quantization errors: 'nearest', or 'adaround', which is
            learned in so many `iterations` for each layer at each width, on up to `calib_images`
            of the data's first images; 'brecq' rounds layers together, and is none of a layer
    Raises E301 to E309, E401, E403.
    """
    arguments.network(model)
    arguments.check(forward=forward, loss=loss, stat_images=images, device=device, seed=seed)
    arguments.check(hessian_samples=hessian_samples, label_draws=label_draws)
    arguments.check(rounding=rounding, iterations=iterations, calib_images=calib_images)
    options = WorkbenchOptions(
        model=model if isinstance(model, str) else "resnet18-fmnist",
        data=data if isinstance(data, str) else None,
        bits=None if menu is not None else arguments.listed("bits", bits),
        menu=None if menu is None else arguments.listed("menu", menu),
        loss=loss,
        stat_images=images,
        label_draws=label_draws,
        hessian_samples=hessian_samples,
        stat_rounding=rounding,
        stat_iterations=iterations,
        calib_images=calib_images,
        device=device,
        seed=seed,
        cache=False,
    )
    return _workbench(options, model, data, forward)


def _workbench(
    options: WorkbenchOptions, model: Model, data: Data | None, forward: Forward | None
) -> Workbench:
    """The network made ready, with its data; what is to be known of it is warned of."""
    if data is None or isinstance(data, str):
        network = (
            None if isinstance(model, str) else networks.ready(model, None, forward, data or "")
        )
        statistics = Workbench(options, network=network)
    else:
        data = arguments.batches(data)
        network = networks.ready(model, arguments.first(data), forward, data)
        statistics = Workbench(options, network=network, data=networks.stream(data))
    if network is not None:
        warn(statistics.new(network.warnings))
    return statistics


@in_python
def score(
    proxy: str | Program | Sequence[str | Program], statistics: Workbench, tied: str = "auto"
) -> Any:
    """S[group, choice] of a proxy, or a list of them for a list.

    proxy   a text, a name of the library, or `file.emq:name`
    tied    'sum', 'main', 'mean' or 'auto': how layers that share a choice make one score
    Returns a `ScoreTable`: `scores` (groups, choices), `values` (layers, choices), `q` (layers,) or
    None, float64; `groups`, `choices`. For a program that does not separate there is no table, but
    a `ConfigurationScore`: `alone()` (groups, choices), what the score gains where one group alone
    leaves the most bits. Both have `score(configuration)`, of columns of the menu, and `totals` of
    many. Raises E1xx and E2xx for texts, E303 for a proxy that needs images and has none.
    """
    proxies = proxy if isinstance(proxy, Sequence) and not isinstance(proxy, str) else [proxy]
    arguments.check(statistics=statistics)
    programs: list[Program] = []
    for each in proxies:
        arguments.check(proxy=each)
        programs += library.find(each) if isinstance(each, str) else [each]
    tables = _scored(statistics, programs, tied)
    return tables[0] if proxies is not proxy and len(tables) == 1 else tables


@in_python
def costs(
    statistics: Workbench, *, accounting: str = "full", act_bits: int = 8
) -> Mapping[str, Budget]:
    """What choices cost: 'size' in bytes, 'bops' in bit operations, 'avg-bits' in weight bits.

    Each has `costs` (groups, choices) and `base` in integers; `cost(choices)` adds up a
    configuration. `accounting` is 'full', 'weights' or 'emq'.
    """
    arguments.check(statistics=statistics, accounting=accounting, act_bits=act_bits)
    constraints = Constraints(accounting=accounting, act_bits=act_bits)
    problem = Problem.of(statistics.network, statistics.choices, constraints)
    return {budget.quantity.name: budget for budget in problem.measures()}


@in_python
def quantize(
    model: Model,
    recipe: Recipe | str | Path,
    data: Data,
    *,
    images: int | None = None,
    forward: Forward | None = None,
    progress: Callable[[RoundingProgress], None] = lambda progress: None,
    **settings: Any,
) -> Quantized:
    """Post-training quantization by a recipe, or its file; the model itself is left as it is.

    images    how many of the data's first calibrate; by default 1,024, or as many as there are
    settings  rounding='nearest' | 'adaround' | 'brecq', iterations=20_000 of learned rounding,
              bias_correction, fisher
    Returns the quantized module, its integers, and a report of every layer. Figures of the recipe
    that are not those of its bits are left out, with W611. Raises E304, E308, E310 to E312, E403.
    """
    wanted = CALIBRATION if images is None else images
    how = arguments.procedure(settings, wanted)
    arguments.check(forward=forward, progress=progress)
    made, recipe = isinstance(recipe, Recipe), _recipe(recipe)
    arguments.network(model)
    if isinstance(data, str):
        network = networks.ready(model, None, forward, data)
        data = networks.named(data, network, "calibration", wanted)
    else:
        data, count = arguments.calibrating(arguments.batches(data), images)
        how = replace(how, images=max(1, count))
        network = networks.ready(model, arguments.first(data), forward, data)
    recipe, unlike = believed(recipe, network, guarded=made)
    warn((*network.warnings, *unlike))
    quantized = quantization.quantize(network, recipe, data, how, progress=progress)
    warn(quantized.diagnostics)
    return quantized


@in_python
def qat(
    model: Model,
    start: Quantized | Recipe | str | Path,
    data: Data,
    *,
    epochs: int | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    distill: float | None = None,
    temperature: float | None = None,
    bn: str | None = None,
    preset: str | None = None,
    seed: int = 0,
    loss: Callable[[Any, Any], Tensor] | None = None,
    forward: Forward | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    progress: Progress = silent,
) -> Quantized:
    """Train a quantized network: LSQ of weights and steps; the model itself is left as it is.

    start    what `quantize` returned, or a checkpoint's folder or file; or a recipe, whose weights
             are rounded to the nearest value first
    data     batches with labels, which are held in memory; a tenth chooses the best epoch
    epochs   2, unless a preset says otherwise; lr 0.003, which falls as a cosine to 0; batch_size
             128; preset='paper' 30, 4e-4 and 512
    distill  share of the float network's answers in the loss, at a temperature of 4; 1 needs no
             labels
    bn       'freeze', or 'train': batch norms are put back, trained and folded again
    loss     instead of the labels' own; `forward` as everywhere
    out      a folder that the network is written to, and what is learned so far: the same call goes
             on from it
    progress called with what is done, the images so far and in all
    Returns the network of the best epoch; `recipe.training` says how it was trained. Raises E301 to
    E312, E320 where training diverges, E403.
    """
    arguments.network(model)
    arguments.check(forward=forward, own_loss=loss, device=device, seed=seed, progress=progress)
    given = {"epochs": epochs, "rate": lr, "batch": batch_size, "norms": bn}
    settings = Settings.of(preset, seed=seed, distill=distill, temperature=temperature, **given)
    batches = arguments.batches(data)
    named = isinstance(batches, str)
    network = networks.ready(model, None if named else arguments.first(batches), forward, batches)
    images = (
        networks.named(batches, network, "training", None) if named else networks.stream(batches)
    )
    job = Job.of(network, images, settings, loss, device_named(device))
    quantized = _begun(network, start, images)
    if preset is not None:
        check_preset(preset, quantized.recipe)
    kept = None if out is None else job.kept(quantized, out)
    trained = job.run(quantized, kept, progress)
    if kept is not None:
        kept.finish(trained.quantized)
    warn((*network.warnings, *quantized.diagnostics, *trained.diagnostics))
    return trained.quantized


@in_python
def evaluate(
    model: Model | Quantized,
    data: Data,
    metric: Callable[[Any, Any], float] | None = None,
    *,
    reference: Model | None = None,
    forward: Forward | None = None,
) -> evaluation.Evaluation:
    """Accuracy and loss where there are labels, and agreement and KL with `reference` if given.

    Of outputs that are no scores of classes: the mean squared error, and the relative error.
    `metric(outputs, batch)`, if given, is averaged over images; labels then need fit nothing else.
    Warns where the answers change from run to run, or with the rows beside one, W614 and W619.
    Raises E303 where there is nothing to compare with, E304, E305, E308, E312.
    """
    data = arguments.batches(data)
    arguments.check(metric=metric, forward=forward)
    for network in (model, reference) if reference is not None else (model,):
        arguments.network(network)
    model = networks.load(model) if isinstance(model, str) else model
    if isinstance(data, str):
        taker = reference if isinstance(model, Quantized) else model
        if taker is None:
            help = "give the batches themselves, or the float network as reference="
            raise error("E303", f"'{data}' fits a network by name", help)
        data = networks.named(data, networks.ready(taker, None, forward), "test", None)
    module, other = (
        networks.module(model),
        None if reference is None else networks.module(reference),
    )
    signature = model.signature if isinstance(model, Network) else Signature.of(module)
    if forward is not None:
        signature = dataclasses.replace(signature, own=forward)
    before = [networks.parameters(each) for each in (module, other)]
    given = data if isinstance(data, Dataset) else arguments.ending(data)
    found = evaluation.evaluate(module, given, metric, reference=other, signature=signature)
    if before != [networks.parameters(each) for each in (module, other)]:
        message = "the network's forward made parameters, at random"
        raise error("E308", message, "run it once, and give it trained weights")
    if isinstance(model, Network):
        warn(model.warnings)
    elif not isinstance(model, Quantized):
        warn(networks.varying(module, arguments.first(data), signature))
    return found


@in_python
def load_quantized(
    path: str | Path,
    model: Model | None = None,
    data: Data | None = None,
    *,
    forward: Forward | None = None,
) -> Quantized:
    """The quantized network of a checkpoint: a folder that `emqlang quantize` wrote, or its file.

    model  the float network it was made from; by default the one that the checkpoint names
    data   of which the first batch shows what a network of your own takes
    Raises E301, E302, E304, E305, E308, E310, E311.
    """
    if model is None:
        network = completed(WorkbenchOptions(), read_recipe(path)).network()
    else:
        arguments.network(model)
        given = () if data is None or isinstance(data, str) else arguments.batches(data)
        batch = arguments.first(given) if given != () else None
        network = networks.ready(model, batch, forward, given)
    quantized = from_file(path, network)
    recipe, unlike = believed(quantized.recipe, network, guarded=True)
    warn((*network.warnings, *quantized.diagnostics, *unlike))
    return dataclasses.replace(quantized, recipe=recipe)


def _begun(
    network: Network, start: Quantized | Recipe | str | Path, images: Iterable[Any]
) -> Quantized:
    """The quantized network that training starts from. Raises E301, E302, E310, E311."""
    if isinstance(start, Quantized):
        names = [layer.name for layer in network.collection.layers]
        check_fits(start.recipe, identity(network), names, network.collection.why_none)
        return start
    if isinstance(start, str | Path) and is_checkpoint(Path(start)):
        return from_file(start, network)
    recipe, unlike = believed(_recipe(start), network, guarded=isinstance(start, Recipe))
    warn(unlike)
    calibrating, count = arguments.calibrating(images, None)
    return quantization.quantize(network, recipe, calibrating, Procedure(images=max(1, count)))


def _scored(
    statistics: Workbench, programs: Sequence[Program], tied: str | None = None
) -> list[Scores]:
    """The programs' tables; what is to be known of them is warned of."""
    found = evaluate_programs(statistics, programs, tied=tied)
    warn(found.diagnostics)
    return [scored.table for scored in found.scored]


def _recipe(recipe: Any) -> Recipe:
    if isinstance(recipe, str | Path):
        return load_recipe(recipe)
    if not isinstance(recipe, Recipe):
        message = f"the recipe is a {type(recipe).__name__}"
        raise error("E310", message, "emq.assign makes one, and emq.load_recipe reads one")
    return recipe
