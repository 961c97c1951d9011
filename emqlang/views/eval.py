"""Scores of proxies: a table of layers, and a table of groups for each loss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import floor, isfinite, log10
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from emqlang.grammar.text.printer import show
from emqlang.quant.bits.configuration import configuration_text
from emqlang.quant.bits.menu import Choice
from emqlang.quant.networks.facts import NetworkFacts
from emqlang.scores.joint import ConfigurationScore
from emqlang.scores.table import TIED
from emqlang.tasks.eval import EvalResult, Scored
from emqlang.views import render
from emqlang.views.render import Column, Csv, View

if TYPE_CHECKING:
    from emqlang.quant.networks.network import Network

SCHEMA = "emqlang.eval/1"
GAP = 3  # characters that a table puts between two columns


def screen(result: EvalResult) -> None:
    """The network, one table of all sensitivities by layer, and a table of groups per loss.

    Of a program that does not separate, what each group gains and loses.
    """
    network(result.network, result.data, result.choices)
    weighted = [scored for scored in result.scored if scored.table.q is not None]
    for scored in weighted:
        _introduce(result, scored)
    for strips in _layer_tables(result, weighted):
        _print_strips(strips)
    for scored in result.scored:
        if scored.table.q is None:
            _introduce(result, scored)
            _print_strips(_group_table(result, scored))


def record(result: EvalResult) -> dict[str, Any]:
    """The object of `eval --json`."""
    net = result.network
    return {
        "schema": SCHEMA,
        "proxies": [_proxy(result, scored) for scored in result.scored],
        "model": {
            "name": net.name,
            "weights": net.weights,
            "weights_sha256": net.weights_sha256,
            "parameters": net.parameters,
        },
        "data": result.data or None,
        "seconds": {
            "statistics": result.statistics_seconds,
            "evaluation": result.evaluation_seconds,
        },
    }


def table(result: EvalResult) -> Csv:
    """A line for each proxy and layer, with the scores of the layer's group."""
    choices = map(str, result.choices)
    header = ["proxy", "layer", "group", "type", "shape", "numel", "value", *choices]
    return header, _rows(result)


VIEWS: Final = {EvalResult: View(screen, record, table)}


def network(net: Network | NetworkFacts, data: str = "", choices: Sequence[Choice] = ()) -> None:
    """The header: whose weights, which images, which choices."""
    render.fields(
        [
            ("model", f"{net.name}, {net.parameters:,} parameters"),
            ("weights", f"{net.weights} (sha256 {net.weights_sha256[:12]})"),
            ("data", data),
            ("choices", " ".join(map(str, choices))),
        ]
    )


def numbers(values: Iterable[float] | None) -> list[str]:
    """One column, five digits of the largest: all plain, or all scientific if they differ much."""
    values = [] if values is None else list(values)
    sizes = [abs(value) for value in values if value and isfinite(value)]
    if not sizes or (max(sizes) < 1e7 and min(sizes) >= 1e-4 and max(sizes) / min(sizes) < 1e4):
        decimals = max(0, 4 - floor(log10(max(sizes)))) if sizes else 0
        return [f"{value:.{decimals}f}" for value in values]
    return [f"{value:.4e}" for value in values]


def _proxy(result: EvalResult, scored: Scored) -> dict[str, Any]:
    program, score_table = scored.program, scored.table
    config = None
    if result.config is not None:
        bits = [choice.entry for choice in result.config]
        config = {"bits": bits, "score": scored.config_score}
    return {
        "text": program.text,
        "name": program.name or None,
        "elaborated": show(program.elaborated),
        "added": list(program.added),
        "canonical": show(program.canonical),
        "key": program.canonical.digest.hex(),
        "inputs": list(scored.inputs),
        "choice_dependent": score_table.q is None,
        "separable": not isinstance(score_table, ConfigurationScore),
        "tied": score_table.tied,
        "layers": _layer_records(result, scored),
        "groups": _group_records(result, scored),
        "config": config,
        **_reference(result, scored),
        "problems": [
            {"code": problem.code, "layer": problem.path} for problem in score_table.problems
        ],
    }


def _layer_records(result: EvalResult, scored: Scored) -> list[dict[str, Any]]:
    return [
        {
            "name": layer.name,
            "group": group,
            "type": layer.type,
            "shape": list(layer.shape),
            "numel": layer.numel,
            "value": value,
        }
        for layer, group, value in zip(result.layers, result.group_of, _values(scored), strict=True)
    ]


def _reference(result: EvalResult, scored: Scored) -> dict[str, Any]:
    """Where gains start from, of a program that does not separate."""
    if not isinstance(scored.table, ConfigurationScore):
        return {}
    bits = [result.choices[column].entry for column in scored.reference]
    return {"reference": {"bits": bits, "score": scored.reference_score}}


def _cells(scored: Scored) -> Any:
    """(groups, choices): scores, or what they gain where there is no table."""
    table = scored.table
    return scored.alone if isinstance(table, ConfigurationScore) else table.scores


def _group_records(result: EvalResult, scored: Scored) -> list[dict[str, Any]]:
    choices = list(map(str, result.choices))
    what = "gains" if isinstance(scored.table, ConfigurationScore) else "scores"
    return [
        {
            "name": group.name,
            "layers": [result.layers[i].name for i in group.layers],
            what: dict(zip(choices, scores, strict=True)),
        }
        for group, scores in zip(result.groups, _cells(scored).tolist(), strict=True)
    ]


def _rows(result: EvalResult) -> Iterator[list[object]]:
    for number, scored in enumerate(result.scored, 1):
        name = scored.program.name or (
            scored.program.text if len(result.scored) == 1 else f"#{number}"
        )
        groups = [group.name for group in result.groups]
        scores = dict(zip(groups, _cells(scored).tolist(), strict=True))
        for layer, group, value in zip(
            result.layers, result.group_of, _values(scored), strict=True
        ):
            facts = [layer.name, group, layer.type, _shape(layer.shape), layer.numel]
            yield [name, *facts, value, *scores[group]]


class Strip(NamedTuple):
    """One column of a table with its cells."""

    column: Column
    cells: list[str]

    @property
    def width(self) -> int:
        return max(map(len, (self.column.title, *self.cells))) + GAP


def _introduce(result: EvalResult, scored: Scored) -> None:
    render.text()
    render.heading(_title(result, scored))
    render.fields(_facts(result, scored))


def _title(result: EvalResult, scored: Scored) -> str:
    number = result.scored.index(scored) + 1
    return scored.program.name or (f"#{number}" if len(result.scored) > 1 else "proxy")


def _facts(result: EvalResult, scored: Scored) -> list[tuple[str, str]]:
    facts = [
        ("text", scored.program.text),
        ("added", ", ".join(scored.program.added)),
        ("tied layers", TIED[scored.table.tied]),
    ]
    if result.config is not None:
        score = "not finite" if scored.config_score is None else f"{scored.config_score:.6g}"
        bits = configuration_text(result.config)
        facts.append(("score", f"{score}  for {bits}"))
    if isinstance(scored.table, ConfigurationScore):
        facts += _joint_facts(result, scored)
    return facts


def _joint_facts(result: EvalResult, scored: Scored) -> list[tuple[str, str]]:
    """That there is no table, and what the gains below it start from."""
    facts = [("separates", "no: the score is no sum over layers, and there is no score table")]
    where = "that configuration"
    if result.config is None:
        top = scored.table.choices[scored.reference[0]]
        where, score = f"{top} everywhere", scored.reference_score
        facts.append(("score", f"{'not finite' if score is None else f'{score:.6g}'}  for {where}"))
    return [*facts, ("below", f"what the score gains where one group alone leaves {where}")]


def _layer_tables(result: EvalResult, weighted: Sequence[Scored]) -> Iterator[list[Strip]]:
    """A row per layer and a column of Q per proxy, as many columns in a table as fit the screen."""
    single = len(result.scored) == 1
    values = [
        Strip(Column("Q" if single else _title(result, scored), "right"), numbers(scored.table.q))
        for scored in weighted
    ]
    layers = result.layers
    facts = [
        Strip(Column("layer", style="bold"), [layer.name for layer in layers]),
        Strip(Column("tied to", style="dim"), _mains(result)),
        Strip(Column("shape", style="cyan"), [_shape(layer.shape) for layer in layers]),
        Strip(Column("weights", "right", "dim"), [f"{layer.numel:,}" for layer in layers]),
    ]
    facts = [strip for strip in facts if any(strip.cells)]
    width = render.width()
    while len(facts) > 1 and _width(*facts, *values) > width:
        facts.pop()
    while values:
        count = 1
        while count < len(values) and _width(*facts, *values[: count + 1]) <= width:
            count += 1
        yield [*facts, *values[:count]]
        values = values[count:]


def _group_table(result: EvalResult, scored: Scored) -> list[Strip]:
    """A row per group and a column per choice."""
    groups, layers = result.groups, result.layers
    others = [", ".join(layers[i].name for i in g.layers if i != g.main) for g in groups]
    cells = numbers(_cells(scored).T.flat)  # all in one notation
    strips = [
        Strip(Column("group", style="bold"), [group.name for group in groups]),
        Strip(Column("with", style="dim", folds=True), others),
    ]
    for choice in result.choices:
        strips.append(Strip(Column(str(choice), "right"), cells[: len(groups)]))
        cells = cells[len(groups) :]
    return [strip for strip in strips if any(strip.cells)]


def _print_strips(strips: Sequence[Strip]) -> None:
    render.text()
    rows = zip(*(strip.cells for strip in strips), strict=True)
    render.table([strip.column for strip in strips], rows)


def _width(*strips: Strip) -> int:
    return sum(strip.width for strip in strips)


def _mains(result: EvalResult) -> list[str]:
    """The group of each layer that another layer decides for, and nothing for the others."""
    pairs = zip(result.layers, result.group_of, strict=True)
    return [group if group != layer.name else "" for layer, group in pairs]


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _values(scored: Scored) -> Sequence[float | None]:
    """Q of each layer; None where the choice changes more than its bit weight."""
    q = scored.table.q
    return [None] * len(scored.table.layers) if q is None else q.tolist()
