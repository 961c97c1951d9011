"""An evaluation: a table of layers, and a table of groups for each loss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import floor, isfinite, log10
from typing import Any, Final, NamedTuple

from emqlang.grammar.text.printer import show
from emqlang.quant.bits.configuration import configuration_text
from emqlang.quant.bits.menu import Choice
from emqlang.quant.networks.network import Network
from emqlang.scores.table import TIED
from emqlang.tasks.eval import Evaluation, Scored
from emqlang.views import render
from emqlang.views.render import Column, Csv, View

SCHEMA = "emqlang.eval/1"
GAP = 3  # characters that a table puts between two columns


def screen(evaluation: Evaluation) -> None:
    """The network, one table of all sensitivities by layer, and a table of groups per loss."""
    network(evaluation.network, evaluation.data, evaluation.choices)
    weighted = [scored for scored in evaluation.scored if scored.table.q is not None]
    for scored in weighted:
        _introduce(evaluation, scored)
    for strips in _layer_tables(evaluation, weighted):
        _print_strips(strips)
    for scored in evaluation.scored:
        if scored.table.q is None:
            _introduce(evaluation, scored)
            _print_strips(_group_table(evaluation, scored))


def record(evaluation: Evaluation) -> dict[str, Any]:
    """The object of `eval --json`."""
    net = evaluation.network
    return {
        "schema": SCHEMA,
        "proxies": [_proxy(evaluation, scored) for scored in evaluation.scored],
        "model": {
            "name": net.name,
            "weights": net.weights,
            "weights_sha256": net.weights_sha256,
            "parameters": net.parameters,
        },
        "data": evaluation.data or None,
        "seconds": {
            "statistics": evaluation.statistics_seconds,
            "evaluation": evaluation.evaluation_seconds,
        },
    }


def table(evaluation: Evaluation) -> Csv:
    """A line for each proxy and layer, with the scores of the layer's group."""
    choices = map(str, evaluation.choices)
    header = ["proxy", "layer", "group", "type", "shape", "numel", "value", *choices]
    return header, _rows(evaluation)


VIEWS: Final = {Evaluation: View(screen, record, table)}


def network(net: Network, data: str = "", choices: Sequence[Choice] = ()) -> None:
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


def _proxy(evaluation: Evaluation, scored: Scored) -> dict[str, Any]:
    program, score_table = scored.program, scored.table
    config = None
    if evaluation.config is not None:
        bits = [choice.entry for choice in evaluation.config]
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
        "tied": score_table.tied,
        "layers": _layer_records(evaluation, scored),
        "groups": _group_records(evaluation, scored),
        "config": config,
        "problems": [
            {"code": problem.code, "layer": problem.path} for problem in score_table.problems
        ],
    }


def _layer_records(evaluation: Evaluation, scored: Scored) -> list[dict[str, Any]]:
    return [
        {
            "name": layer.name,
            "group": group,
            "type": layer.type,
            "shape": list(layer.shape),
            "numel": layer.numel,
            "value": value,
        }
        for layer, group, value in zip(
            evaluation.layers, evaluation.group_of, _values(scored), strict=True
        )
    ]


def _group_records(evaluation: Evaluation, scored: Scored) -> list[dict[str, Any]]:
    choices = list(map(str, evaluation.choices))
    return [
        {
            "name": group.name,
            "layers": [evaluation.layers[i].name for i in group.layers],
            "scores": dict(zip(choices, scores, strict=True)),
        }
        for group, scores in zip(evaluation.groups, scored.table.scores.tolist(), strict=True)
    ]


def _rows(evaluation: Evaluation) -> Iterator[list[object]]:
    for number, scored in enumerate(evaluation.scored, 1):
        name = scored.program.name or (
            scored.program.text if len(evaluation.scored) == 1 else f"#{number}"
        )
        groups = [group.name for group in evaluation.groups]
        scores = dict(zip(groups, scored.table.scores.tolist(), strict=True))
        for layer, group, value in zip(
            evaluation.layers, evaluation.group_of, _values(scored), strict=True
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


def _introduce(evaluation: Evaluation, scored: Scored) -> None:
    render.text()
    render.heading(_title(evaluation, scored))
    render.fields(_facts(evaluation, scored))


def _title(evaluation: Evaluation, scored: Scored) -> str:
    number = evaluation.scored.index(scored) + 1
    return scored.program.name or (f"#{number}" if len(evaluation.scored) > 1 else "proxy")


def _facts(evaluation: Evaluation, scored: Scored) -> list[tuple[str, str]]:
    facts = [
        ("text", scored.program.text),
        ("added", ", ".join(scored.program.added)),
        ("tied layers", TIED[scored.table.tied]),
    ]
    if evaluation.config is not None:
        score = "not finite" if scored.config_score is None else f"{scored.config_score:.6g}"
        bits = configuration_text(evaluation.config)
        facts.append(("score", f"{score}  for {bits}"))
    return facts


def _layer_tables(evaluation: Evaluation, weighted: Sequence[Scored]) -> Iterator[list[Strip]]:
    """A row per layer and a column of Q per proxy, as many columns in a table as fit the screen."""
    single = len(evaluation.scored) == 1
    values = [
        Strip(
            Column("Q" if single else _title(evaluation, scored), "right"), numbers(scored.table.q)
        )
        for scored in weighted
    ]
    layers = evaluation.layers
    facts = [
        Strip(Column("layer", style="bold"), [layer.name for layer in layers]),
        Strip(Column("tied to", style="dim"), _mains(evaluation)),
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


def _group_table(evaluation: Evaluation, scored: Scored) -> list[Strip]:
    """A row per group and a column per choice."""
    groups, layers = evaluation.groups, evaluation.layers
    others = [", ".join(layers[i].name for i in g.layers if i != g.main) for g in groups]
    cells = numbers(scored.table.scores.T.flat)  # all in one notation
    strips = [
        Strip(Column("group", style="bold"), [group.name for group in groups]),
        Strip(Column("with", style="dim", folds=True), others),
    ]
    for choice in evaluation.choices:
        strips.append(Strip(Column(str(choice), "right"), cells[: len(groups)]))
        cells = cells[len(groups) :]
    return [strip for strip in strips if any(strip.cells)]


def _print_strips(strips: Sequence[Strip]) -> None:
    render.text()
    rows = zip(*(strip.cells for strip in strips), strict=True)
    render.table([strip.column for strip in strips], rows)


def _width(*strips: Strip) -> int:
    return sum(strip.width for strip in strips)


def _mains(evaluation: Evaluation) -> list[str]:
    """The group of each layer that another layer decides for, and nothing for the others."""
    pairs = zip(evaluation.layers, evaluation.group_of, strict=True)
    return [group if group != layer.name else "" for layer, group in pairs]


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _values(scored: Scored) -> Sequence[float | None]:
    """Q of each layer; None where the choice changes more than its bit weight."""
    table = scored.table
    return [None] * len(table.layers) if table.q is None else table.q.tolist()
