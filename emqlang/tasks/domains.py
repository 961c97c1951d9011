"""Proxies on what they were made for: as many images, and a table of their menu and rounding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from emqlang.evolve.settings import EvaluationOptions
from emqlang.grammar.diagnostics import Diagnostic, EmqError
from emqlang.grammar.domain import ROUNDINGS, Domain
from emqlang.grammar.expr import inputs
from emqlang.grammar.program import Program
from emqlang.quant.bits.menu import parse_bits, parse_menu
from emqlang.quant.tables.exchange import IMPORTED
from emqlang.quant.tables.spec import Spec
from emqlang.quant.tables.table import Table, load
from emqlang.tasks.workbench import Workbench, needs_data


def workbenches(bench: Workbench, programs: Sequence[Program]) -> list[Workbench]:
    """For each program one with as many images as it was made for, where the data has as many."""
    known = {0: bench, bench.options.stat_images: bench}
    found = []
    for program in programs:
        count = program.domain.images if reads_images(program) else 0
        if count not in known:
            known[count] = _with_images(bench, count)
        found.append(known[count])
    return found


def reads_images(program: Program) -> bool:
    """Whether one of its statistics is taken on images."""
    return needs_data(inputs(program.canonical))


def _with_images(bench: Workbench, count: int) -> Workbench:
    other = bench.with_images(count)
    try:
        other.data  # noqa: B018  loads them
    except EmqError:  # too few, or what the other workbench says as well
        return bench
    return other


def outside(
    programs: Sequence[Program], benches: Sequence[Workbench], table: Table
) -> Iterator[Diagnostic]:
    """W618 for each way in which proxies are ranked on something else than they were made for."""
    known = table.spec.rounding != IMPORTED
    menu = {str(choice) for choice in table.spec.choices()} if known else set()
    ways: dict[str, list[str]] = {}
    for program, bench in zip(programs, benches, strict=True):
        domain, images = program.domain, bench.options.stat_images
        if domain.images and reads_images(program) and domain.images != images:
            way = f"statistics of {domain.images:,} images, and these are of {images:,}"
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
