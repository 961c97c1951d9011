"""Options that several commands take, and what TAB offers for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from emqlang.cli.numbers import ACT_BITS, POSITIVE, SEED, WORKERS
from emqlang.cli.outputs import output
from emqlang.cli.words import Expression, Words, library_names, model_names, table_names
from emqlang.grammar.diagnostics import EXIT_OK
from emqlang.tasks.outputs import Output
from emqlang.views import render

FILE = click.Path(dir_okay=False, path_type=Path)
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


def stack(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several decorators as one, in the order in which help lists them."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def choice(flag: str, words: str, default: str | None = None, help: str = "") -> Callable[[F], F]:
    """An option that takes one of a few words, which are separated by spaces."""
    kind = click.Choice(words.split())
    return click.option(flag, type=kind, default=default, show_default=bool(default), help=help)


count = partial(click.option, type=POSITIVE, show_default=True)

as_csv = click.option("--csv", "as_csv", is_flag=True, help="Comma-separated lines.")
as_json = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on stdout; errors as records too."
)

expression = click.argument("word", metavar="EXPR", type=Expression())
expressions = click.argument("words", metavar="[EXPR...]", type=Expression(), nargs=-1)
library_proxies = click.option(
    "--proxy",
    "proxies",
    type=Words("name", library_names),
    multiple=True,
    help="A proxy of the library; repeat it for several.",
)

network_only = stack(
    click.option(
        "--model",
        type=Words("name", model_names),
        default="resnet18-fmnist",
        show_default=True,
        help="A name of `emqlang models`, package.module:factory or file.py:factory.",
    ),
    click.option(
        "--weights",
        metavar="WHICH",
        help="pretrained, random, PATH or PATH:KEY of a checkpoint.  [default: trained if there]",
    ),
    click.option(
        "--data",
        metavar="WHAT",
        help="A folder of images, package.module:loader, file.py:loader or noise:N.  "
        "[default: the network's own]",
    ),
    click.option(
        "--input",
        metavar="SHAPE",
        help="Shape of an image, as 1x28x28.  [default: what the network, --data or --test tells]",
    ),
    click.option(
        "--forward",
        metavar="FUNCTION",
        help="How the network is given a batch: file.py:function of (module, batch).  "
        "[default: its inputs, by position or by name]",
    ),
    click.option(
        "--seed",
        type=SEED,
        default=0,
        show_default=True,
        help="Seed of random weights, chosen images and probes.",
    ),
)

device = choice("--device", "auto cpu cuda", default="auto", help="Where to compute.")
label_draws = count(
    "--label-draws",
    help="Labels to draw for each image, for shift and its like, instead of the loss's own.",
)

measuring = stack(
    count(
        "--stat-images", help="Images for statistics.  [default: as a proxy's entry says, or 64]"
    ),
    click.option(
        "--loss",
        metavar="WHICH",
        help="label (default): on the data's labels; self: on labels drawn from what the network "
        "answers; or file.py:function of (outputs, batch), the mean over rows, or one for each.",
    ),
    label_draws,
    count("--hessian-samples", default=32, help="Probes for hess and hess_trace."),
    device,
    choice(
        "--tied",
        "auto sum main mean",
        default="auto",
        help="How layers that share a choice make one score.",
    ),
    click.option(
        "--no-cache",
        "cache",
        is_flag=True,
        flag_value=False,
        default=True,
        help="Neither read nor write cached statistics.",
    ),
)

network = stack(
    network_only,
    click.option("--bits", metavar="LIST", help="Weight bits to choose from.  [default: 2,3,4]"),
    click.option(
        "--menu", metavar="LIST", help="Weight and activation bits to choose from, as W2A8,W4A8."
    ),
    measuring,
)

budgets = stack(
    click.option("--size", metavar="AMOUNT", help="At most this size, as 4.5MiB."),
    click.option(
        "--bops", metavar="AMOUNT", help="At most this many bit operations per image, as 72G."
    ),
    click.option(
        "--latency",
        metavar="AMOUNT",
        help="At most this time by --latency-table, as 3ms: an estimate.",
    ),
    click.option(
        "--avg-bits",
        metavar="BITS",
        help="At most this many bits per weight on average, over the layers in the menu.",
    ),
    click.option("--latency-table", metavar="FILE", help="CSV of layer,choice,milliseconds."),
    click.option(
        "--fix",
        metavar="LIST",
        default="",
        help="Layers whose bits are given, as 'conv1=8,layer4.*=4'.",
    ),
    choice(
        "--accounting",
        "full weights emq",
        default="full",
        help="What a size counts: all that is stored, no scales and zero points, or as the paper.",
    ),
    click.option(
        "--act-bits",
        type=ACT_BITS,
        default=8,
        show_default=True,
        help="Bits of activations that --menu does not choose.",
    ),
    choice(
        "--method",
        "exact sample",
        default="exact",
        help="Exact solver, or the paper's sampling.",
    ),
    count("--samples", default=50_000, help="Configurations that `sample` draws."),
    click.option(
        "--hold-unmeasured",
        is_flag=True,
        help="Give groups that the score says nothing of the most bits of the menu.",
    ),
)

rounding = choice(
    "--rounding",
    "nearest adaround brecq",
    default="nearest",
    help="To the nearest value, or learned layer by layer, or block by block.",
)
iterations = count(
    "--iters", "iterations", default=20_000, help="Iterations of learned rounding per unit."
)
ranges = choice(
    "--range",
    "mse minmax percentile",
    default="mse",
    help="How ranges of weights and activations are found.",
)
calib_images = count("--calib-images", default=1024, help="Calibration images.")
test_images = click.option(
    "--test",
    metavar="WHAT",
    help="Images to test on, as --data.  [default: the network's own, or all of --data]",
)

metric = click.option(
    "--metric",
    metavar="FUNCTION",
    help="A metric of your own, file.py:function or package.module:function of (outputs, batch), "
    "averaged over images.",
)

tables = click.option(
    "--table",
    "tables",
    type=Words("table", table_names),
    multiple=True,
    default=["resnet18-fmnist-all"],
    help="A benchmark table's name or file; repeat it for several.  [default: resnet18-fmnist-all]",
)
ground_truth = choice(
    "--by", "top1 loss", default="top1", help="Ground truth: top-1 accuracy or loss."
)
table = click.argument("name", metavar="TABLE", type=Words("table", table_names))
partial_table = click.option(
    "--partial", is_flag=True, help="Accept the rows so far of a table that is still being built."
)

picture = output("--out -o", Output(), "The picture: SVG or PNG.", required=True)
plot_file = output("--plot", Output(), "Also write a plot: SVG or PNG.")

run_folder = click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
emq_file = output("--emq", Output(), "Also write the programs as a .emq file.")

workers = stack(
    click.option(
        "--workers",
        type=WORKERS,
        default=1,
        show_default=True,
        help="Tasks at a time; they change no result.",
    ),
    choice(
        "--backend",
        "local dask ray",
        default="local",
        help="Processes here, or the cluster that DASK_SCHEDULER_ADDRESS or RAY_ADDRESS names.",
    ),
)


def given(context: click.Context) -> frozenset[str]:
    """The parameters that the user gave, and did not leave to their defaults."""
    left = (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)
    source = context.get_parameter_source
    return frozenset(name for name in context.params if source(name) not in (None, *left))


def pick(kind: Callable[..., T], options: dict[str, Any]) -> T:
    """An options object, a dataclass, of those command-line options that its fields name."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: options[name] for name in names if name in options})


def shown(
    name: str, *others: str, csv: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """--json, and --csv where results have rows; `views/<name>.py` shows what the command returns.

    others  tasks whose results have a view of the same name, which is imported alone
    The result's exit status, if it has one, is the command's.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def command(*args: Any, as_json: bool, as_csv: bool = False, **options: Any) -> None:
            context = click.get_current_context()
            if as_json and as_csv:
                context.fail("--json and --csv exclude each other")
            result = function(*args, **options)
            task = type(result).__module__.rpartition(".")[2]
            module = import_module(f"emqlang.views.{task if task in others else name}")
            view = module.VIEWS[type(result)]
            render.result(result, view, "json" if as_json else "csv" if as_csv else "screen")
            context.exit(getattr(result, "exit_status", EXIT_OK))

        return stack(as_json, *([as_csv] if csv else []))(command)

    return decorate
