"""Options that several commands take, and what TAB offers for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from emqlang.tasks.problem import Wish
    from emqlang.tasks.workbench import Settings

POSITIVE = click.IntRange(min=1)
F = TypeVar("F", bound=Callable[..., Any])

_LAST_NAME = re.compile(r"\w*$")


_PROTECTION = "\N{WORD JOINER}"  # before a leading minus, which click would take for an option's


def protect(expression: str) -> str:
    """The expression as click takes it for an argument; the parameter's type undoes it."""
    return _PROTECTION + expression


class Expression(click.types.StringParamType):
    """A proxy as text, `file.emq:name` or `-`; TAB completes the last name with ops and statistics."""

    name = "expr"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(value, param, ctx).removeprefix(_PROTECTION)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from emqlang.grammar.inputs import INPUTS
        from emqlang.grammar.ops import CALLS

        stem = _LAST_NAME.search(incomplete)
        assert stem is not None
        before = incomplete[: stem.start()]
        return [
            CompletionItem(before + name) for name in (*CALLS, *INPUTS) if name.startswith(stem[0])
        ]


class Words(click.types.StringParamType):
    """One of the words that `known` names; TAB completes them, and the command itself judges the word."""

    def __init__(self, name: str, known: Callable[[], Iterable[str]]) -> None:
        self.name = name
        self.known = known

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(word) for word in self.known() if word.startswith(incomplete)]


def library_names() -> Iterable[str]:
    from emqlang.grammar.library import names

    return names()


def model_names() -> Iterable[str]:
    from emqlang.quant.models import MODELS

    return MODELS


def input_names() -> Iterable[str]:
    from emqlang.grammar.inputs import INPUTS

    return INPUTS


def op_names() -> Iterable[str]:
    from emqlang.grammar.ops import OPS

    return OPS


def table_names() -> Iterable[str]:
    from emqlang.quant.tables.shelf import shipped

    return shipped()


def experiment_names() -> Iterable[str]:
    from emqlang.experiments import NAMES

    return NAMES


def topics() -> Iterable[str]:
    """Everything that `explain` explains."""
    from emqlang.grammar.diagnostics import CODES
    from emqlang.grammar.inputs import INPUTS
    from emqlang.grammar.ops import OPS

    return (*CODES, *OPS, *INPUTS)


def stack(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several decorators as one, in the order in which help lists them."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


class Listed(Words):
    """Several words, separated by commas; the command itself judges them."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return tuple(filter(None, (word.strip() for word in str(value).split(","))))


class Duration(click.types.FloatParamType):
    """A time in seconds: `90s`, `5m`, `2h`."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h)", str(value).strip())
        if match is None or not float(match[1]):
            self.fail(f"'{value}' is no time; write 90s, 5m or 2h", param, ctx)
        return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


class Share(click.types.FloatParamType):
    """A percentage, as a share: `1%` or `1` is 0.01."""

    name = "percent"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            share = float(str(value).strip().removesuffix("%")) / 100
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            self.fail(f"'{value}' is no percentage; write 1%", param, ctx)
        return share


as_csv = click.option("--csv", "as_csv", is_flag=True, help="Comma-separated lines.")
as_json = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on stdout; errors as records too."
)

_MODEL = "A name of `emqlang models`, package.module:factory or file.py:factory."
_WEIGHTS = (
    "pretrained, random, or a checkpoint's path.  [default: trained ones where they can be had]"
)
_DATA = "A folder of images, package.module:loader, file.py:loader or noise:N.  [default: the network's own]"

network_only = stack(
    click.option(
        "--model",
        type=Words("name", model_names),
        default="resnet18-fmnist",
        show_default=True,
        help=_MODEL,
    ),
    click.option("--weights", metavar="WHICH", help=_WEIGHTS),
    click.option("--data", metavar="WHAT", help=_DATA),
    click.option(
        "--seed",
        type=int,
        default=0,
        show_default=True,
        help="Of random weights, chosen images and probes.",
    ),
)

measuring = stack(
    click.option(
        "--stat-images",
        type=POSITIVE,
        default=64,
        show_default=True,
        help="Images that statistics are taken on.",
    ),
    click.option(
        "--loss",
        type=click.Choice(["label", "self"]),
        default="label",
        show_default=True,
        help="On the data's labels, or on labels drawn from the network's own softmax.",
    ),
    click.option("--hessian-samples", type=POSITIVE, help="Probes for hess and hess_trace."),
    click.option(
        "--device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="Where to compute.",
    ),
    click.option(
        "--tied",
        type=click.Choice(["auto", "sum", "main", "mean"]),
        default="auto",
        show_default=True,
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

table = click.argument("name", metavar="TABLE", type=Words("table", table_names))
partial_table = click.option(
    "--partial", is_flag=True, help="Take the rows there are of a table that is still being built."
)

run_folder = click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
emq_file = click.option(
    "--emq",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the programs as a .emq file, too.",
)

workers = stack(
    click.option(
        "--workers",
        type=POSITIVE,
        default=1,
        show_default=True,
        help="Tasks at a time; they change no result.",
    ),
    click.option(
        "--backend",
        type=click.Choice(["local", "dask", "ray"]),
        default="local",
        show_default=True,
        help="Processes here, or the cluster that DASK_SCHEDULER_ADDRESS or RAY_ADDRESS names.",
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
        "--bops", metavar="AMOUNT", help="At most so many bit operations an image, as 72G."
    ),
    click.option(
        "--latency",
        metavar="AMOUNT",
        help="At most this time by --latency-table, as 3ms: an estimate.",
    ),
    click.option(
        "--avg-bits",
        metavar="BITS",
        help="At most so many bits a weight on average, over the layers in the menu.",
    ),
    click.option("--latency-table", metavar="FILE", help="CSV of layer,choice,milliseconds."),
    click.option(
        "--fix",
        metavar="LIST",
        default="",
        help="Layers whose bits are given, as 'conv1=8,layer4.*=4'.",
    ),
    click.option(
        "--accounting",
        type=click.Choice(["full", "weights", "emq"]),
        default="full",
        show_default=True,
        help="What a size counts: all that is stored, no scales and zero points, or as the paper.",
    ),
    click.option(
        "--act-bits",
        type=click.IntRange(2, 8),
        default=8,
        show_default=True,
        help="Of activations that --menu does not choose.",
    ),
    click.option(
        "--method",
        type=click.Choice(["exact", "sample"]),
        default="exact",
        show_default=True,
        help="Exact, or the paper's.",
    ),
    click.option(
        "--samples",
        type=POSITIVE,
        default=50_000,
        show_default=True,
        help="Configurations that `sample` draws.",
    ),
)


def parted(options: dict[str, Any]) -> tuple[Settings, Wish]:
    """The options of `network` and of `budgets` as what they set."""
    from emqlang.tasks.problem import Wish
    from emqlang.tasks.workbench import Settings

    limits = {
        name: options.pop(name.replace("-", "_"))
        for name in ("size", "bops", "latency", "avg-bits")
    }
    own = {
        name: options.pop(name) for name in ("fix", "accounting", "act_bits", "method", "samples")
    }
    table = options.pop("latency_table")
    given = {name: text for name, text in limits.items() if text is not None}
    return Settings(**options), Wish(given, latency=table, seed=options["seed"], **own)


def layout(ctx: click.Context, as_json: bool, as_csv: bool = False) -> str:
    """How results are shown: json, csv or screen."""
    if as_json and as_csv:
        ctx.fail("--json and --csv exclude each other")
    return "json" if as_json else "csv" if as_csv else "screen"
