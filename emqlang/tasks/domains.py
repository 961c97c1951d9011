"""Proxies on what they were made for: as many images, and a table of their menu and rounding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from emqlang.evolve.settings import EvaluationOptions
from emqlang.grammar.diagnostics import Diagnostic, EmqError
from emqlang.grammar.domain import ROUNDINGS, UNSAID, Domain
from emqlang.grammar.expr import inputs
from emqlang.grammar.inputs import Cost, dearest
from emqlang.grammar.program import Program
from emqlang.quant.bits.menu import parse_bits, parse_menu
from emqlang.quant.tables.spec import IMPORTED, Spec
from emqlang.quant.tables.table import Table, load
from emqlang.tasks.workbench import Workbench, WorkbenchOptions, needs_data


def workbenches(bench: Workbench, programs: Sequence[Program]) -> list[Workbench]:
    """For each program one with the images and label draws that it was made for, where the options
    leave that open and the data has as many."""
    known = {bench.options: bench}
    found = []
    for program in programs:
        domain = program.domain if reads_images(program) else UNSAID
        options = bench.options.fitted(domain)
        if options not in known:
            known[options] = bench.fitted(domain)
        found.append(known[options])
    return found


def reads_images(program: Program) -> bool:
    """Whether one of its statistics is taken on images."""
    return needs_data(inputs(program.canonical))


def cost(program: Program) -> Cost:
    """The class of the most expensive statistic that it reads."""
    return dearest(inputs(program.canonical))


def effort(program: Program, options: WorkbenchOptions) -> str:
    """What its statistics cost, in words."""
    taken, draws = options.fitted(program.domain), ""
    if not reads_images(program):
        return "no images"
    if taken.label_draws:
        draws = f", {taken.label_draws} labels drawn for each"
    return f"{cost(program)} on {taken.images:,} images{draws}"


def outside(
    programs: Sequence[Program], benches: Sequence[Workbench], table: Table
) -> Iterator[Diagnostic]:
    """W618 for each way in which proxies are ranked on something else than they were made for."""
    known = table.spec.rounding != IMPORTED
    menu = {str(choice) for choice in table.spec.choices()} if known else set()
    ways: dict[str, list[str]] = {}
    for program, bench in zip(programs, benches, strict=True):
        domain, options = program.domain, bench.options
        counts = (
            ("images", domain.images, options.images),
            ("label draws", domain.draws, options.label_draws or 0),
        )
        for what, made_for, taken in counts if reads_images(program) else ():
            if made_for not in (0, taken):
                way = f"statistics of {made_for:,} {what}, and these are of {taken:,}"
                ways.setdefault(way, []).append(program.name or program.text)
        if domain.menu and not menu <= _menu(domain.menu):
            way = f"a menu of {domain.menu}, and the table's is {table.spec.menu}"
            ways.setdefault(way, []).append(program.name or program.text)
        if domain.rounding and known and domain.rounding != table.spec.rounding:
            way = f"{domain.rounding} rounding, and the table has {table.spec.rounding}"
            ways.setdefault(way, []).append(program.name or program.text)
    for way, names in ways.items():
        what = "these proxies were" if len(names) > 1 else "this proxy was"
        yield Diagnostic("W618", f"{what} made for {way}: {', '.join(names)}", path=table.name)


def searched_on(options: EvaluationOptions) -> Domain:
    """What the programs of a search are made for; of its tables only those that are still there."""
    names, menus, roundings = list[str](), set[str](), set[str]()
    for path in options.tables:
        try:
            table = load(path)
        except EmqError:
            names.append(Path(path).stem)
            continue
        names.append(table.name)
        menus.add(_text(table.spec))
        roundings.add(table.spec.rounding)
    rows = ":all" if options.split == "all" else ""
    return Domain(
        menu=menus.pop() if len(menus) == 1 else "",
        images=options.stat_images,
        draws=options.label_draws or 0,
        rounding=roundings.pop() if len(roundings) == 1 and roundings <= {*ROUNDINGS} else "",
        tables=tuple(f"{name}{rows}" for name in names),
    )


def _text(spec: Spec) -> str:
    """A table's menu, as an entry has it."""
    choices = spec.choices()
    joint = choices[0].act_bits is not None
    return ",".join(str(choice) if joint else str(choice.weight_bits) for choice in choices)


def _menu(text: str) -> set[str]:
    """The choices of a menu in a proxy's entry. Raises E401."""
    choices = parse_menu(text) if "A" in text else parse_bits(text)
    return {str(choice) for choice in choices}
