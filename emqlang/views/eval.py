"""An evaluation as a screen for people, as one JSON object, or as CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import floor, isfinite, log10
from types import MappingProxyType
from typing import Any, NamedTuple

from emqlang.grammar.text.printer import show
from emqlang.quant.bits.menu import Choice
from emqlang.quant.networks.network import Network
from emqlang.scores.table import TIED
from emqlang.tasks.workbench import Evaluation, Scored
from emqlang.views import render
from emqlang.views.render import Column

SCHEMA = "emqlang.eval/1"
_GAP = 3  # what a table puts between two columns


class Strip(NamedTuple):
    """One column of a table with its cells."""

    column: Column
    cells: list[str]

    @property
    def width(self) -> int:
        return max(map(len, (self.column.title, *self.cells))) + _GAP


def as_json(done: Evaluation) -> None:
    """`eval --json`: one object; what is not finite is null."""
    render.json_object(record(done))


def as_csv(done: Evaluation) -> None:
    """`eval --csv`: one line for each proxy and layer, with the scores of the layer's group."""
    header = ["proxy", "layer", "group", "type", "shape", "numel", "value", *map(str, done.choices)]
    render.csv_rows(header, _csv(done))


def screen(done: Evaluation) -> None:
    """What a terminal shows: the network, one table of all sensitivities by layer, and a table of groups a loss."""
    network(done.network, done.data, done.choices)
    weighted = [scored for scored in done.scored if scored.table.q is not None]
    for scored in weighted:
        _introduce(done, scored)
    for strips in _layer_tables(done, weighted):
        _print_strips(strips)
    for scored in done.scored:
        if scored.table.q is None:
            _introduce(done, scored)
            _print_strips(_group_table(done, scored))


FORMATS: Mapping[str, Callable[[Evaluation], None]] = MappingProxyType(
    {"screen": screen, "json": as_json, "csv": as_csv}
)


def network(net: Network, data: str = "", choices: Sequence[Choice] = ()) -> None:
    """The header: whose weights, which images, which choices."""
    render.fields([
        ("model", f"{net.name}, {net.parameters:,} parameters"),
        ("weights", f"{net.weights} (sha256 {net.weights_sha256[:12]})"),
        ("data", data),
        ("choices", " ".join(map(str, choices))),
    ])  # fmt: skip


def record(done: Evaluation) -> dict[str, Any]:
    """The object of `eval --json`."""
    net = done.network
    return {
        "schema": SCHEMA,
        "proxies": [_proxy(done, scored) for scored in done.scored],
        "model": {
            "name": net.name,
            "weights": net.weights,
            "weights_sha256": net.weights_sha256,
            "parameters": net.parameters,
        },
        "data": done.data or None,
        "seconds": {"statistics": done.statistics_seconds, "evaluation": done.evaluation_seconds},
    }


def _proxy(done: Evaluation, scored: Scored) -> dict[str, Any]:
    config = (
        None
        if done.config is None
        else {"bits": [_bits(choice) for choice in done.config], "score": scored.config_score}
    )
    return {
        "text": scored.program.text,
        "name": scored.program.name or None,
        "elaborated": show(scored.program.elaborated),
        "added": list(scored.program.added),
        "canonical": show(scored.program.canonical),
        "key": scored.program.canonical.digest.hex(),
        "inputs": list(scored.inputs),
        "choice_dependent": scored.table.q is None,
        "tied": scored.table.tied,
        "layers": _layer_records(done, scored),
        "groups": _group_records(done, scored),
        "config": config,
        "problems": [{"code": problem.code, "layer": problem.path} for problem in scored.table.problems],
    }  # fmt: skip


def _layer_records(done: Evaluation, scored: Scored) -> list[dict[str, Any]]:
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
            done.layers, done.group_of, _values(scored, len(done.layers)), strict=True
        )
    ]


def _group_records(done: Evaluation, scored: Scored) -> list[dict[str, Any]]:
    return [
        {
            "name": group.name,
            "layers": [done.layers[i].name for i in group.layers],
            "scores": dict(zip(map(str, done.choices), scores, strict=True)),
        }
        for group, scores in zip(done.groups, _scores(scored), strict=True)
    ]


def _csv(done: Evaluation) -> Iterator[list[object]]:
    for number, scored in enumerate(done.scored, 1):
        scores = dict(zip((group.name for group in done.groups), _scores(scored), strict=True))
        for layer, group, value in zip(
            done.layers, done.group_of, _values(scored, len(done.layers)), strict=True
        ):
            name = scored.program.name or (
                scored.program.text if len(done.scored) == 1 else f"#{number}"
            )
            yield [
                name,
                layer.name,
                group,
                layer.type,
                _shape(layer.shape),
                layer.numel,
                value,
                *scores[group],
            ]


def _introduce(done: Evaluation, scored: Scored) -> None:
    render.text()
    render.heading(_title(done, scored))
    render.fields(_facts(done, scored))


def _title(done: Evaluation, scored: Scored) -> str:
    return scored.program.name or (
        f"#{done.scored.index(scored) + 1}" if len(done.scored) > 1 else "proxy"
    )


def _facts(done: Evaluation, scored: Scored) -> list[tuple[str, str]]:
    facts = [
        ("text", scored.program.text),
        ("added", ", ".join(scored.program.added)),
        ("tied layers", TIED[scored.table.tied]),
    ]
    if done.config is not None:
        score = "not finite" if scored.config_score is None else f"{scored.config_score:.6g}"
        facts.append(
            ("score", f"{score}  for {','.join(str(_bits(choice)) for choice in done.config)}")
        )
    return facts


def _layer_tables(done: Evaluation, weighted: Sequence[Scored]) -> Iterator[list[Strip]]:
    """A row a layer and a column of Q a proxy; as many columns in one table as the screen takes."""
    single = len(done.scored) == 1
    values = [
        Strip(Column("Q" if single else _title(done, one), "right"), numbers(one.table.q))
        for one in weighted
    ]
    facts = [
        Strip(Column("layer", style="bold"), [layer.name for layer in done.layers]),
        Strip(Column("tied to", style="dim"), _mains(done)),
        Strip(Column("shape", style="cyan"), [_shape(layer.shape) for layer in done.layers]),
        Strip(Column("weights", "right", "dim"), [f"{layer.numel:,}" for layer in done.layers]),
    ]
    facts = [strip for strip in facts if any(strip.cells)]
    room = render.width()
    while len(facts) > 1 and sum(strip.width for strip in (*facts, *values)) > room:
        facts.pop()
    while values:
        count = 1
        while (
            count < len(values)
            and sum(strip.width for strip in (*facts, *values[: count + 1])) <= room
        ):
            count += 1
        yield [*facts, *values[:count]]
        values = values[count:]


def _group_table(done: Evaluation, scored: Scored) -> list[Strip]:
    """A row a group and a column a choice."""
    others = [
        ", ".join(done.layers[i].name for i in group.layers if i != group.main)
        for group in done.groups
    ]
    cells = numbers(scored.table.scores.T.flat)  # all in one notation
    rows = len(done.groups)
    strips = [
        Strip(Column("group", style="bold"), [group.name for group in done.groups]),
        Strip(Column("with", style="dim", folds=True), others),
        *(
            Strip(Column(str(choice), "right"), cells[i * rows : (i + 1) * rows])
            for i, choice in enumerate(done.choices)
        ),
    ]
    return [strip for strip in strips if any(strip.cells)]


def _print_strips(strips: Sequence[Strip]) -> None:
    render.text()
    render.table(
        [strip.column for strip in strips], zip(*(strip.cells for strip in strips), strict=True)
    )


def _mains(done: Evaluation) -> list[str]:
    """The group of each layer that another layer decides for, and nothing for the others."""
    return [
        group if group != layer.name else ""
        for layer, group in zip(done.layers, done.group_of, strict=True)
    ]


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _values(scored: Scored, count: int) -> list[float | None]:
    return (
        [None] * count if scored.table.q is None else [_finite(value) for value in scored.table.q]
    )


def _scores(scored: Scored) -> list[list[float | None]]:
    return [[_finite(value) for value in row] for row in scored.table.scores]


def _bits(choice: Choice) -> int | str:
    """A choice as `--config` takes it."""
    return choice.weight_bits if choice.act_bits is None else str(choice)


def _finite(value: float) -> float | None:
    return float(value) if isfinite(value) else None


def numbers(values: Iterable[float] | None) -> list[str]:
    """One column of numbers, five digits of the largest: all plain, or all in scientific notation where they differ much."""
    values = [] if values is None else list(values)
    sizes = [abs(value) for value in values if value and isfinite(value)]
    if not sizes or (max(sizes) < 1e7 and min(sizes) >= 1e-4 and max(sizes) / min(sizes) < 1e4):
        decimals = max(0, 4 - floor(log10(max(sizes)))) if sizes else 0
        return [f"{value:.{decimals}f}" for value in values]
    return [f"{value:.4e}" for value in values]
