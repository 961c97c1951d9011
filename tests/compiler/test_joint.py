"""Programs of the configuration: what they sum, layer by layer, and the rest of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import reference
from conditioning import FLOAT64, difference, moved
from fakes import fake, program
from hypothesis import HealthCheck, given, settings
from numpy.typing import NDArray
from populations import SMALL
from strategies import joint_exprs

from emqlang.compiler.joint import compile_joint, terms
from emqlang.compiler.plan import compile
from emqlang.grammar.canonical.form import whole
from emqlang.grammar.expr import Expr, elaborate
from emqlang.grammar.levels import CONFIGURATION
from emqlang.scores.joint import ConfigurationScore
from emqlang.scores.pipeline import score

STATISTICS = SMALL.in_float64()
LAYERS = len(SMALL.layers)
CONFIGURATIONS = np.random.default_rng(0).integers(0, len(SMALL.choices), (9, LAYERS))
CROSS = "-mean(1 - exp(-(total(square(shift)) + square(total(shift))) / 2))"


class Single:
    """A group of one layer."""

    def __init__(self, layer: int) -> None:
        self.name, self.layers, self.main = str(layer), (layer,), layer


class Pair:
    name, layers, main = "pair", (0, 2), 2


SINGLES = tuple(map(Single, range(LAYERS)))


def scored(form: Expr, groups: Any = SINGLES, statistics: Any = STATISTICS) -> ConfigurationScore:
    (scores,) = score([form], statistics, groups)
    assert isinstance(scores, ConfigurationScore)
    return scores


def expected(form: Expr, configurations: NDArray[Any] = CONFIGURATIONS) -> NDArray[Any]:
    return np.array([reference.score(form, STATISTICS, row) for row in configurations])


@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(joint_exprs(max_size=25))
def test_any_program_agrees_with_the_reference(expr: Expr) -> None:
    form = whole(elaborate(expr))
    if form.level != CONFIGURATION:
        return
    values, right = scored(form).totals(CONFIGURATIONS), expected(form)
    unclear = moved(lambda: expected(form), FLOAT64) > 3e-10
    assert not (difference(values, right) > 1e-9)[~unclear].any(), (values, right)


TEXTS = (
    CROSS,
    "-mean(log(1 + square(total(shift))))",
    "-mean(sqrt(total(square(shift)) + square(total(shift))))",
    "total(bits) * log(total(numel * bits))",
    "std(total(shift + act_shift * depth)) - max(total(loss_shift))",
    "sum(normalize(total(shift)) ** 3) / total(1)",
    "exp(-l2(total(min_max(shift)) - total(mean(abs(w)) * bits)))",
    "total(bits) ** 0 * 3 + total(bits * var(w)) ** 2 + sum(total(shift) ** 0)",
)


@pytest.mark.parametrize("text", TEXTS)
def test_it_agrees_with_the_reference(text: str) -> None:
    form = whole(program(text))
    values, right = scored(form).totals(CONFIGURATIONS), expected(form)
    np.testing.assert_allclose(values, right, rtol=1e-9)
    assert scored(form).score(CONFIGURATIONS[3]) == values[3]


@pytest.mark.parametrize("text", TEXTS)
def test_a_score_depends_on_nothing_that_is_computed_beside_it(text: str) -> None:
    """Bit for bit: on how many configurations there are, and on the other programs."""
    forms = [whole(program(other)) for other in TEXTS]
    together = score(forms, SMALL, SINGLES, threads=3)[TEXTS.index(text)]
    alone = scored(whole(program(text)), statistics=SMALL)
    many = np.random.default_rng(1).integers(0, len(SMALL.choices), (200, LAYERS))
    assert isinstance(together, ConfigurationScore)
    values = together.totals(many)
    assert values.tobytes() == alone.totals(many).tobytes()
    assert values[150:].tobytes() == alone.totals(many[150:]).tobytes()
    assert [alone.score(row) for row in many[:5]] == values[:5].tolist()


def test_tied_layers_are_summed_or_as_told() -> None:
    form = whole(program("square(total(mean(abs(w)) * bits))"))
    groups = (Pair(), Single(1))
    layers = np.array([[c, d, c] for c, d in ((0, 2), (2, 0), (1, 1))])
    pairs = layers[:, :2]
    np.testing.assert_allclose(scored(form, groups).totals(pairs), expected(form, layers))
    main, mean = (
        score([form], STATISTICS, groups, tied)[0].totals(pairs) for tied in ("main", "mean")
    )
    first, last = (STATISTICS.array("w")[a:b].abs().mean().item() for a, b in _parts())
    bits = STATISTICS.array("bits").numpy()[:, 0]
    other = scored(whole(program("total(mean(abs(w)) * bits) ** 2")), (Single(1),))
    of_one = np.sqrt(other.totals(pairs[:, 1:]))
    w_bits = bits[[[0, 0, 1][choice] for choice in pairs[:, 0]]]
    np.testing.assert_allclose(main, (of_one + last * w_bits) ** 2)
    np.testing.assert_allclose(mean, (of_one + (first + last) / 2 * w_bits) ** 2)


def _parts() -> list[tuple[int, int]]:
    offsets = STATISTICS.offsets["weight"]
    return [(offsets[0], offsets[1]), (offsets[2], offsets[3])]


def test_what_is_not_finite_is_lost_where_it_is_chosen_and_nowhere_else() -> None:
    w = SMALL.array("shift").numpy().copy()
    images = SMALL.offsets["image"][1]
    w[1, images + 3] = 1e30  # of the second layer, with the second weight bits
    statistics = SMALL.with_arrays(shift=w)
    scores = scored(whole(program("log(1 + mean(square(total(exp(shift)))))")), SINGLES, statistics)
    every = np.array([[a, b, c] for a in range(3) for b in range(3) for c in range(3)])
    assert np.isfinite(scores.totals(every)).tolist() == (every[:, 1] != 2).tolist()
    (problem,) = scores.problems
    assert problem.path == SMALL.layers[1] and "W4A8" in problem.message


def test_one_image_and_one_layer_are_enough() -> None:
    one = fake(shapes={"only": (4, 9)}, images=1)
    scores = scored(whole(program(CROSS)), (Single(0),), one)
    v = one.array("shift").double().numpy()[:, 0]
    np.testing.assert_allclose(scores.totals(np.array([[0], [2]])), -(1 - np.exp(-(v**2))))


def test_only_what_belongs_to_the_configuration_is_planned_jointly() -> None:
    with pytest.raises(ValueError, match="elaborate"):
        compile_joint([program("bits * w")])
    with pytest.raises(ValueError, match="elaborate"):
        compile([whole(program("square(total(bits))"))])


def test_what_totals_share_is_computed_once() -> None:
    plan = compile_joint([whole(program(text)) for text in (CROSS, "exp(mean(total(shift)**4))")])
    assert len(plan.totals) == 2 and not plan.layers.programs
    values = terms(plan, SMALL)
    assert {value.shape for value in values.values()} == {(LAYERS, 3, 12)}


def test_alone_is_what_one_group_gains() -> None:
    scores = scored(whole(program(CROSS)))
    assert scores.top in ((1, 1, 1), (2, 2, 2))
    gained = scores.alone((0, 1, 2))
    assert gained[0, 0] == gained[1, 1] == gained[2, 2] == 0
    assert gained[1, 2] == scores.score((0, 2, 2)) - scores.score((0, 1, 2))
