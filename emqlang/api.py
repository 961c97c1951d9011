"""The Python API: statistics, scores, costs, bits, and the quantized network.

model    any `torch.nn.Module`, the name of a built-in network, or `file.py:factory`
data     any iterable of batches: a tensor of inputs; a tuple or list of inputs, labels and anything
         more; or a dict, its labels under one of `labels`, `label`, `targets`, `target`, `y`
forward  how the network is given a batch: `forward(model, batch)`
loss     what is to be small: `loss(outputs, batch)`, a scalar

What cannot be done raises `EmqError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from emqlang.grammar import library
from emqlang.grammar.diagnostics import error
from emqlang.grammar.program import Program
from emqlang.quant.bits.budget import Budget
from emqlang.quant.data.datasets import Batch, Dataset, load_data
from emqlang.quant.data.images import ImageFormat
from emqlang.quant.data.loader import LABEL_KEYS
from emqlang.quant.networks.batches import Forward, feed, labels_of, slice_rows, tensors
from emqlang.quant.networks.network import Network, load, prepare
from emqlang.quant.ptq import evaluate as evaluation
from emqlang.quant.ptq import quantize as quantization
from emqlang.quant.ptq.quantized import Quantized
from emqlang.quant.ptq.recipe import Procedure, Recipe
from emqlang.quant.ptq.rounding import RoundingProgress
from emqlang.scores.table import ScoreTable
from emqlang.tasks.eval import evaluate as evaluate_programs
from emqlang.tasks.problem import Constraints, Problem
from emqlang.tasks.workbench import Workbench, WorkbenchOptions

Model = nn.Module | Network | str
Data = Iterable[Any] | str
RECORDED = 2  # rows of the first batch on which a network of your own is recorded


def collect(
    model: Model,
    data: Data | None = None,
    *,
    forward: Forward | None = None,
    loss: str | Callable[[Any, Any], Tensor] = "label",
    bits: str = "2,3,4",
    menu: str | None = None,
    images: int = 64,
    hessian_samples: int = 32,
    device: str = "auto",
    seed: int = 0,
) -> Workbench:
    """The network made ready for its statistics, each of which is taken when first needed.

    data    its first `images` images are used; a name as `--data` takes it; None for a network with
            its own, or if no proxy reads images. Your own network is recorded on the first batch
    loss    'label', 'self' for labels drawn from the network's own softmax, or a function
    bits    weight bits to choose from; `menu` instead gives pairs such as 'W2A8,W4A8'
    Raises E301 to E309, E401, E403.
    """
    options = WorkbenchOptions(
        model=model if isinstance(model, str) else "resnet18-fmnist",
        data=data if isinstance(data, str) else None,
        bits=None if menu else bits,
        menu=menu,
        loss=loss,
        stat_images=images,
        hessian_samples=hessian_samples,
        device=device,
        seed=seed,
        cache=False,
    )
    if data is None or isinstance(data, str):
        return Workbench(
            options, network=None if isinstance(model, str) else _ready(model, None, forward)
        )
    data = _reusable(data)
    first = next(iter(data), None)
    if first is None:
        raise error("E304", "the data has no batches")
    return Workbench(options, network=_ready(model, first, forward), data=_stream(data))


def score(
    proxy: str | Program | Sequence[str | Program], statistics: Workbench, tied: str = "auto"
) -> Any:
    """S[group, choice] of a proxy, or a list of them for a list.

    proxy   a text, a name of the library, or `file.emq:name`
    tied    'sum', 'main', 'mean' or 'auto': how layers that share a choice make one score
    Returns a `ScoreTable`: `scores` (groups, choices), `values` (layers, choices), `q` (layers,) or
    None, float64; `groups`, `choices`. Raises E1xx and E2xx for texts, E303 for a proxy that needs
    images and has none.
    """
    proxies = [proxy] if isinstance(proxy, str | Program) else proxy
    programs: list[Program] = []
    for each in proxies:
        programs += library.find(each) if isinstance(each, str) else [each]
    tables = [scored.table for scored in evaluate_programs(statistics, programs, tied=tied).scored]
    return tables[0] if proxies is not proxy and len(tables) == 1 else tables


def costs(
    statistics: Workbench, *, accounting: str = "full", act_bits: int = 8
) -> Mapping[str, Budget]:
    """What choices cost: 'size' in bytes, 'bops' in bit operations, 'avg-bits' in weight bits.

    Each has `costs` (groups, choices) and `base` in integers; `cost(choices)` adds up a
    configuration. `accounting` is 'full', 'weights' or 'emq'.
    """
    constraints = Constraints(accounting=accounting, act_bits=act_bits)
    problem = Problem.of(statistics.network, statistics.choices, constraints)
    return {budget.quantity.name: budget for budget in problem.measures()}


def assign(
    proxy: str | Program | ScoreTable,
    statistics: Workbench,
    *,
    size: str | None = None,
    bops: str | None = None,
    latency: str | None = None,
    avg_bits: float | None = None,
    latency_table: str | None = None,
    fix: str = "",
    accounting: str = "full",
    act_bits: int = 8,
    method: str = "exact",
    samples: int = 50_000,
    seed: int = 0,
) -> Recipe:
    """The bits with the greatest total score within every budget, as a recipe.

    Budgets are written as on the command line: size='4.5MiB', bops='72G', latency='3ms',
    avg_bits=3. `method` is 'exact', or 'sample' for the paper's. `recipe.bits` maps layers to
    weight bits. Raises E404 for a bad budget, E405 where the budgets cannot be met, naming the
    least each can be, E402 for `fix`, E501 for scores that are not finite.
    """
    constraints = Constraints(
        size=size,
        bops=bops,
        latency=latency,
        avg_bits=None if avg_bits is None else str(avg_bits),
        latency_table=latency_table,
        fix=fix,
        accounting=accounting,
        act_bits=act_bits,
        method=method,
        samples=samples,
        seed=seed,
    )
    problem = Problem.of(statistics.network, statistics.choices, constraints)
    if isinstance(proxy, ScoreTable):
        return problem.recipe(problem.solve(problem.scores(proxy)))
    program = library.find_one(proxy) if isinstance(proxy, str) else proxy
    workbench = statistics.with_choices(problem.menu)
    table = evaluate_programs(workbench, [program]).scored[0].table
    return problem.recipe(problem.solve(problem.scores(table)), program)


def quantize(
    model: Model,
    recipe: Recipe,
    data: Data,
    *,
    forward: Forward | None = None,
    progress: Callable[[RoundingProgress], None] = lambda progress: None,
    **procedure: Any,
) -> Quantized:
    """Post-training quantization by a recipe; the model itself is left as it is.

    procedure  rounding='nearest' | 'adaround' | 'brecq', images=1024 that calibrate, the data's
               first, iterations=20_000 of learned rounding, bias_correction, fisher
    Returns the quantized module, its integers, and a report of every layer. Raises E304, E308,
    E311, E312, E403.
    """
    how = Procedure(**procedure)
    if isinstance(data, str):
        network = _ready(model, None, forward)
        data = _named(data, network, "calibration", how.images)
    else:
        data = _reusable(data)
        network = _ready(model, next(iter(data), None), forward)
    forward = forward or feed
    return quantization.quantize(network, recipe, data, how, forward=forward, progress=progress)


def evaluate(
    model: Model | Quantized,
    data: Data,
    metric: Callable[[Any, Any], float] | None = None,
    *,
    reference: Model | None = None,
    forward: Forward | None = None,
) -> evaluation.Evaluation:
    """Accuracy and loss where there are labels, and agreement and KL with `reference` if given.

    `metric(outputs, batch)`, if given, is averaged over batches. Raises E303 where there is nothing
    to compare with, E304, E308, E312.
    """
    if isinstance(data, str):
        if isinstance(model, Quantized):
            raise error("E303", f"'{data}' fits a network by name", "give the batches themselves")
        data = _named(data, _ready(model, None, forward), "test", None)
    module, other = _module(model), None if reference is None else _module(reference)
    return evaluation.evaluate(module, data, metric, reference=other, forward=forward or feed)


def _module(model: Model | Quantized) -> nn.Module:
    """What is evaluated: a module is taken as it is, in eval mode, and left as it was."""
    if isinstance(model, Quantized | Network):
        return model.module
    return load(model).module if isinstance(model, str) else deepcopy(model).eval()


def _reusable(data: Iterable[Any]) -> Iterable[Any]:
    """Batches that can be iterated over more than once."""
    return list(data) if isinstance(data, Iterator) else data


def _named(data: str, network: Network, split: Any, count: int | None) -> Dataset:
    """The images that a name as `--data` takes it stands for."""
    images = network.spec.images if network.spec else ImageFormat.of(network.input_shape)
    return load_data(data, images, network.classes, count=count, split=split, net=network.module)


def _ready(model: Model, batch: Any, forward: Forward | None) -> Network:
    """The network made ready. One of your own is recorded on a few rows of a batch."""
    if isinstance(model, Network):
        return model
    if isinstance(model, str):
        return load(model)
    if batch is None:
        shape = getattr(model, "input_shape", (3, 224, 224))
        batch = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    forward, rows = forward or feed, slice_rows(batch, 0, RECORDED)
    inputs = _inputs(rows)
    if len(inputs) != 1:
        return prepare(model, rows, forward=forward)
    return prepare(model, inputs[0], forward=lambda net, images: forward(net, _like(rows, images)))


def _inputs(batch: Any) -> list[Tensor]:
    """The tensors of a batch that are not its labels."""
    if isinstance(batch, Mapping):
        return tensors({key: value for key, value in batch.items() if key not in LABEL_KEYS})
    return tensors(batch[0] if isinstance(batch, Sequence) else batch)


def _like(batch: Any, images: Tensor) -> Any:
    """Images in the form of the user's batches."""
    if isinstance(batch, Mapping):
        return {key: images for key in batch if key not in LABEL_KEYS}
    return (images, *batch[1:]) if isinstance(batch, Sequence) else images


def _stream(data: Iterable[Any]) -> Dataset:
    """The batches as statistics read them: one tensor of inputs each, or E304, and labels."""

    def batches() -> Iterator[Batch]:
        for batch in data:
            inputs = _inputs(batch)
            if len(inputs) != 1:
                message = f"a batch holds {len(inputs)} tensors of inputs; statistics take one"
                raise error("E304", message)
            yield inputs[0], labels_of(batch)

    return Dataset("the data", "the data given", None, False, batches)
