"""Random texts: those that the grammar makes, and those that are nearly right."""

from __future__ import annotations

import random

from trials import Attack, Verdict

from emqlang.grammar.canonical.form import canonical
from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.inputs import INPUTS
from emqlang.grammar.ops import CALLS
from emqlang.grammar.program import parse
from emqlang.grammar.text.printer import show

PER_TRIAL = 1000  # texts
LITERALS = ("0", "1", "-1", "2", "0.5", "3.7", "1e-9", "2.2e-308", "5e-324", "1e308", "-0.25", "10")
EXPONENTS = ("2", "0.5", "-0.5", "-1", "3", "-2", "1.5", "0", "4.4")
BROKEN = "()+-*/@,=#&^%$'\"\n\t .0aé∂"


def _text(chance: random.Random, depth: int) -> str:
    draw = chance.random()
    if depth == 0 or draw < 0.12:
        return chance.choice(LITERALS) if chance.random() < 0.2 else chance.choice(list(INPUTS))
    if draw < 0.5:
        return f"{chance.choice(list(CALLS))}({_text(chance, depth - 1)})"
    if draw < 0.6:
        return f"({_text(chance, depth - 1)}) ** {chance.choice(EXPONENTS)}"
    sign = chance.choice(("+", "-", "*", "/", "*", "/"))
    return f"({_text(chance, depth - 1)}) {sign} ({_text(chance, depth - 1)})"


def _garbled(chance: random.Random, text: str) -> str:
    letters = list(text)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(letters) + 1)
        action = chance.random()
        if action < 0.4:
            letters.insert(place, chance.choice(BROKEN))
        elif letters:
            del letters[place : place + 1 if action < 0.8 else None]
    return "".join(letters)


def _fault(text: str) -> str:
    """What is wrong with how a text is treated, or nothing."""
    try:
        program = parse(text)
    except EmqError:
        return ""
    form = canonical(program.elaborated)
    printed = show(form)
    if canonical(form) != form:
        return f"not idempotent: {text}"
    if canonical(parse(printed).expr) != form:
        return f"printed, it is another program: {text}"
    return ""


def _trial(_: object, number: int) -> Verdict:
    chance = random.Random(number)
    for _round in range(PER_TRIAL):
        text = _text(chance, chance.randint(0, 6))
        if chance.random() < 0.25:
            text = _garbled(chance, text)
        try:
            fault = _fault(text)
        except Exception as crash:  # whatever it is, it is a fault of ours
            fault = f"{type(crash).__name__}: {text}"
        if fault:
            return Verdict(False, fault[:300])
    return Verdict(True, f"{PER_TRIAL:,} texts")


ATTACKS = (
    Attack(
        "texts",
        f"each of {PER_TRIAL:,} random texts a trial is refused with a diagnostic, or has one "
        "canonical form that is its own canonical form and survives printing and parsing",
        1000,
        lambda folder: folder.mkdir(parents=True, exist_ok=True),
        _trial,
    ),
)
