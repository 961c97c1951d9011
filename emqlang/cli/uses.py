"""What is given is used or refused: THE table of options that a command uses only beside others.

Options that are not in it are used whenever they are given. `check` reads the table for every
command before it runs; `check_statistics` asks what the proxies read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from emqlang.cli.options import given
from emqlang.grammar.diagnostics import Diagnostic, EmqError
from emqlang.quant.bits.allocation import find_allocation
from emqlang.quant.export import FORMATS, is_checkpoint

if TYPE_CHECKING:
    from emqlang.grammar.program import Program


@dataclass(frozen=True)
class Words:
    """A command's words: the values of all its options, and which of them were given."""

    values: Mapping[str, Any]
    given: frozenset[str]

    def has(self, *names: str) -> bool:
        """Whether one of these was given."""
        return not self.given.isdisjoint(names)


@dataclass(frozen=True)
class Rule:
    """Options, by their parameters' names, which are used only `if` something holds.

    reason  why they are not used where it does not hold, as in '--seed is not used REASON'
    """

    options: str
    reason: str
    used_if: Callable[[Words], bool]


def _needs(options: str, *others: str) -> Rule:
    flags = " or ".join(f"--{name.replace('_', '-')}" for name in others)
    return Rule(options, f"without {flags}", lambda words: words.has(*others))


def _excludes(options: str, *others: str, why: str = "") -> Rule:
    flags = " or ".join(f"--{name.replace('_', '-')}" for name in others)
    reason = f"beside {flags}" + (f": {why}" if why else "")
    return Rule(options, reason, lambda words: not words.has(*others))


def _where(options: str, name: str, value: str) -> Rule:
    reason = f"without --{name.replace('_', '-')} {value}"
    return Rule(options, reason, lambda words: words.values[name] == value)


def _format_reads(option: str) -> Rule:
    """Used by formats that say so; one that does not exist is refused by the command."""

    def reads(words: Words) -> bool:
        format = FORMATS.get(words.values["format"])
        return format is None or option in format.options

    return Rule(option, "by this format", reads)


LIMITS: Final = "size bops latency avg_bits"
BUDGET: Final = f"{LIMITS} latency_table fix method samples hold_unmeasured"
# what bits are chosen by
CHOSEN: Final = "bits menu stat_images loss label_draws hessian_samples device tied cache"
NETWORK: Final = "model weights data input forward seed"
OF_A_RUN: Final = (
    "tables split by combine algorithm seed islands population inputs ops no_choice additive "
    "max_nodes selection structure fitness semantics without stat_images label_draws "
    "stat_rounding stat_iterations calib_images"
)


LEARNED: Final = Rule(
    "iterations", "with --rounding nearest", lambda words: words.values["rounding"] != "nearest"
)


def _is_learned(words: Words) -> bool:
    """Whether statistics see learned rounding."""
    return bool(words.values.get("stat_rounding", "nearest") != "nearest")


STAT_LEARNED: Final = Rule("stat_iterations", LEARNED.reason, _is_learned)
LEARNED_ON: Final = Rule("calib_images", LEARNED.reason, _is_learned)
# A menu of pairs chooses the bits of activations.
FIXED_ACTIVATIONS: Final = Rule(
    "act_bits",
    "beside a --menu of pairs, which chooses them",
    lambda words: "A" not in str(words.values.get("menu") or "").upper(),
)
SAMPLED: Final = _where("samples", "method", "sample")
LATENCY: Final = Rule(
    "latency_table",
    "without --latency, or a front over it",
    lambda words: words.has("latency") or words.values.get("over") == "latency",
)
QUANTIZED: Final = Rule(
    "calib_images",
    "beside a checkpoint, which is quantized already",
    lambda words: not is_checkpoint(words.values["source"]),
)
SPREAD: Final = Rule(
    "backend",
    "with --backend local and one worker",
    lambda words: words.values["backend"] != "local" or words.values["workers"] > 1,
)
EXPERIMENTS_OWN: Final = Rule(
    "tables",
    "by this experiment: 'truth' and 'transfer' have their own tables, and 'layerwise' takes one",
    lambda words: (
        words.values["name"] not in ("truth", "transfer")
        and (words.values["name"] != "layerwise" or len(words.values["tables"]) == 1)
    ),
)


def _reads_images(words: Words) -> bool:
    """Whether a search of the typed grammar reads values of each image."""
    from emqlang.grammar.inputs import INPUTS, Kind

    if not words.has("inputs"):
        return not (words.values["additive"] or words.values["no_choice"])
    read = (INPUTS[name] for name in words.values["inputs"] if name in INPUTS)
    return any(row.kind is Kind.IMAGE for row in read)


DRAWN: Final = Rule(
    "label_draws",
    "by this search: none of its statistics has a value for each image",
    _reads_images,
)


def _reads_errors(words: Words) -> bool:
    """Whether a search reads what rounding weights does."""
    from emqlang.quant.statistics.kinds import ROUNDED

    if words.has("inputs"):
        return not ROUNDED.isdisjoint(words.values["inputs"])
    return words.values["algorithm"] != "emq" and not words.values["no_choice"]


ROUNDED_IN_SEARCH: Final = Rule(
    "stat_rounding",
    "by this search: none of its statistics sees the errors of weights",
    _reads_errors,
)
RULES: Final[Mapping[str, Sequence[Rule]]] = {
    "assign": (
        _excludes("max_drop out config polish", "sweep", why="it prints a front"),
        _excludes("polish", "max_drop", why="it has its own way to judge"),
        _needs("over", "sweep", "max_drop"),
        _needs("columns tie partial", "scores"),
        _excludes(
            f"{NETWORK} {CHOSEN} accounting latency_table method samples hold_unmeasured "
            "max_drop polish test calib_images stat_rounding stat_iterations",
            "scores",
            why="it needs no network",
        ),
        Rule(
            "calib_images",
            "without --max-drop, --polish or learned --rounding",
            lambda words: words.has("max_drop", "polish") or _is_learned(words),
        ),
        STAT_LEARNED,
        _needs("test", "max_drop"),
        _excludes("method", "sweep", "max_drop", why="a front is exact"),
        _excludes(
            f"{BUDGET} {CHOSEN} stat_rounding over max_drop polish",
            "config",
            why="the bits are given",
        ),
        Rule(
            "data",
            "beside --config: no image is read",
            lambda words: not words.has("config") or words.has("out") or _tells_shape(words),
        ),
        SAMPLED,
        LATENCY,
        FIXED_ACTIVATIONS,
    ),
    "quantize": (
        _excludes(f"{BUDGET} {CHOSEN} uniform", "config", why="the bits are given"),
        Rule(
            f"{BUDGET} {CHOSEN} accounting act_bits",
            "beside --recipe, which has the bits",
            lambda words: not words.has("recipe_path"),
        ),
        Rule("fisher", LEARNED.reason, LEARNED.used_if),
        LEARNED,
        SAMPLED,
        LATENCY,
        FIXED_ACTIVATIONS,
    ),
    "qat": (
        _needs("temperature", "distill"),
        Rule("loss", "with --distill 1", lambda words: words.values["distill"] != 1),
        QUANTIZED,
    ),
    "bench build": (
        LEARNED,
        Rule("composed", f"{LEARNED.reason}, which is composed anyway", LEARNED.used_if),
        FIXED_ACTIVATIONS,
        SPREAD,
    ),
    "bench rerun": (SPREAD,),
    "evaluate": (
        Rule(
            "data",
            "beside --test",
            lambda words: (
                not words.has("test") or _tells_shape(words) or bool(words.values["checkpoint"])
            ),
        ),
    ),
    "export": (
        Rule(
            f"{NETWORK} calib_images test requantize",
            "beside bits by measured scores: they need no network",
            lambda words: find_allocation(words.values["source"]) is None,
        ),
        QUANTIZED,
        *map(_format_reads, ("partial", "requantize", "int2", "verify", "images", "test")),
    ),
    "evolve": (
        _excludes(OF_A_RUN, "resume", why="the run has its own"),
        _excludes("out", "resume", why="the run has its own folder"),
        _where("structure fitness semantics without", "algorithm", "emq"),
        _where("max_nodes selection ops no_choice additive label_draws", "algorithm", "grammar"),
        DRAWN,
        ROUNDED_IN_SEARCH,
        STAT_LEARNED,
        LEARNED_ON,
        Rule(
            "combine", "with a single --table", lambda words: len(set(words.values["tables"])) > 1
        ),
        SPREAD,
    ),
    "experiment": (
        Rule(
            "seeds size only tables stat_images label_draws out plot workers backend as_json",
            "without the NAME of an experiment",
            lambda words: words.has("name"),
        ),
        EXPERIMENTS_OWN,
        Rule(
            "label_draws",
            "by this experiment: only 'transfer' has values for each image",
            lambda words: words.values["name"] == "transfer",
        ),
        SPREAD,
    ),
    "eval": (STAT_LEARNED, LEARNED_ON),
    "plot pareto": (
        Rule(
            "table",
            "beside fronts from files",
            lambda words: not any(word.endswith(".json") for word in words.values["words"]),
        ),
    ),
    "plot matrix": (STAT_LEARNED, LEARNED_ON),
    "plot scores": (STAT_LEARNED, LEARNED_ON),
    "rank": (_where("draws against", "protocol", "rows"), STAT_LEARNED, LEARNED_ON),
    "repl": (STAT_LEARNED, LEARNED_ON),
    "simplify": (_needs("seconds", "with_sympy"),),
}
# option -> the statistics that read it
READ_BY: Final[Mapping[str, str]] = {
    "data": "is taken on images",
    "stat_images": "is taken on images",
    "loss": "reads the loss",
    "label_draws": "has a value for each image",
    "hessian_samples": "is estimated with probes",
    "stat_rounding": "sees the errors of weights",
}


def check(context: click.Context) -> None:
    """Raises E403 for options that are given and empty, or would not be used; E301 for data."""
    name = context.command_path.removeprefix("emqlang").strip()
    words = Words(context.params, given(context))
    problems = [*_empty(context, words), *_unused(context, name, words)]
    if problems:
        raise EmqError(*problems)
    for option in ("data", "test"):
        if words.has(option):
            from emqlang.quant.data.datasets import check_named

            check_named(words.values[option])


def check_statistics(
    context: click.Context, programs: Iterable[Program], *, calibrates: bool = False
) -> None:
    """Raises E403 for options of statistics that none of these programs reads.

    calibrates  whether the command itself quantizes, or reads the images of --data, or names them
                in a recipe
    """
    words, expressions = given(context), [program.canonical for program in programs]
    learned = _is_learned(Words(context.params, words))  # on images
    if calibrates or learned or _tells_shape(Words(context.params, words)):
        words -= {"data"}
    if not expressions or words.isdisjoint(READ_BY):
        return
    from emqlang.grammar.expr import inputs
    from emqlang.grammar.inputs import INPUTS
    from emqlang.quant.statistics.kinds import LOSSES, PROBED, ROUNDED, SHIFTS

    on_images = {row.name for row in INPUTS.values() if row.needs_data}
    readers = {
        "data": on_images,
        "stat_images": on_images,
        "loss": LOSSES,
        "label_draws": SHIFTS,
        "hessian_samples": PROBED,
        "stat_rounding": ROUNDED,
    }
    problems = [
        _refusal(context, name, f"by these proxies: none of their statistics {READ_BY[name]}")
        for name in READ_BY
        if name in words and readers[name].isdisjoint(inputs(*expressions))
    ]
    if problems:
        raise EmqError(*problems)


def _tells_shape(words: Words) -> bool:
    """Whether --data shows what a network of the user's own takes."""
    return ":" in str(words.values.get("model")) and not words.has("input")


def _empty(context: click.Context, words: Words) -> Iterator[Diagnostic]:
    for param in context.command.params:
        if isinstance(param, click.Option) and param.name in words.given:
            value = words.values.get(param.name)
            if value in ("", ()) or (isinstance(value, tuple) and "" in value):
                flag = param.opts[0]
                yield Diagnostic("E403", f"{flag} is empty", help=(f"give {flag} a value",))


def _unused(context: click.Context, command: str, words: Words) -> Iterator[Diagnostic]:
    """Each option once, for the first rule that refuses it."""
    refused: set[str] = set()
    for rule in RULES.get(command, ()):
        for name in rule.options.split():
            if name in words.given - refused and not rule.used_if(words):
                refused.add(name)
                yield _refusal(context, name, rule.reason)


def _refusal(context: click.Context, name: str, reason: str) -> Diagnostic:
    flag = next(param.opts[0] for param in context.command.params if param.name == name)
    return Diagnostic("E403", f"{flag} is not used {reason}", help=(f"leave {flag} out",))
