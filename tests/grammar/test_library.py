"""The shipped proxies, the paper's names, and how an argument finds its proxy."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from emqlang.grammar import LIBRARY, fmt, parse, show
from emqlang.grammar.diagnostics import EmqError
from emqlang.grammar.expr import inputs, statistic
from emqlang.grammar.files import load_text
from emqlang.grammar.inputs import INPUTS, Kind
from emqlang.grammar.library import SHELVES, find, names, read_shelf
from emqlang.grammar.paper import NAMES

MEANING = {
    "bparams": "bits * numel / 8 / 2 ** 20",
    "hawq": "bits * hess_eig",
    "hawq_v2": "-(relu(hess_trace) / numel) * sum(square(qerr))",
    "hawq_v2_published": "-(hess_trace / numel) * sum(square(qerr))",
    "hawq_v2_bits": "bits * (hess_trace / numel)",
    "ompq": "bits * exp(-orm)",
    "qe": "bits * (log(fan_in * var(w)) + log(act_var))",
    "fisher_elementwise": "bits * sum(square(act * grad_act))",
    "fisher_channel": "bits * (fisher_act / 2)",
    "plain": "bits * sum(grad * w)",
    "snip": "bits * sum(abs(grad * w))",
    "synflow": "bits * sum(grad_synflow * abs(w))",
    "emq": "bits * mean(log(abs(grad_synflow)) * sqrt(mean(abs(w))))",
    "emq_genotype": "bits * (mean(sqrt(relu(w))) / channels_out)",
    "bit_sum": "bits",
    "size": "bits * numel",
    "inv_sqrt_numel": "bits * (1 / sqrt(numel))",
    "neg_log_numel": "bits * -log(numel)",
    "late_first": "bits * depth",
    "early_first": "bits * (1 / (1 + depth))",
    "output_mse": "-out_mse",
    "output_kl": "-kl",
    "loss_increase": "-loss_inc",
    "x2_error": "-sum(x2 * square(qerr))",
    "fisher_form": "-fisher_qerr",
    "fisher_error": "-sum(fisher * square(qerr))",
    "fisher_whole": "-mean(square(total(shift)))",
    "fisher_log": "-mean(log(1 + square(total(shift))))",
    "fisher_root": "-mean((total(square(shift)) * square(total(shift))) ** 0.25)",
    "fisher_cross": "-mean(1 - exp(-(total(square(shift)) + square(total(shift))) / 2))",
    "fisher_length": "-mean(sqrt(total(square(shift)) + square(total(shift))))",
    "shift_spread": "-std(total(loss_shift)) * mean(abs(total(shift)))",
    "length_spread": "-std(total(loss_shift)) * "
    "mean(sqrt(total(square(shift)) + square(total(shift))))",
    "fisher_length_pairs": "-mean(sqrt(total(square(shift)) + square(total(shift)))) - "
    "mean(sqrt(total(square(act_shift)) + square(total(act_shift))))",
    "evolved": "sqrt((fisher_qerr + (fisher_act * fisher_qerr * (bits * bits + 0.66) + "
    "(macs - var(log(act)) * exp(fisher_qerr * orm)))) ** 2.7)",
    "evolved_short": "-(fisher_qerr * log(fan_in)) ** 1.3",
    "evolved_forwards": "-((square(out_mse * (act_qerr * out_mse ** 3.2)) * act_numel) ** 0.11 * "
    "(((loss_inc + fisher_qerr + fisher_qerr) * bits + fisher_qerr) * bits ** 1.8))",
    "evolved_forwards_short": "-(act_qerr ** 0.21 * kl) * out_mse ** 0.29",
    "evolved_four": "-(macs * act_qerr / log(1.9 * hess_eig) + fisher_qerr) ** 1.3",
    "evolved_four_forwards": "-(bits ** 3.7 * fisher_qerr * "
    "abs((fisher_qerr / channels_in) ** 1.6 - out_mse))",
    "evolved_across": "-(mean(sqrt(total(shift))) * 0.48 + "
    "sqrt(sqrt(std(total(sigmoid(loss_shift) + act_shift)))))",
}


def test_the_library_is_what_it_says() -> None:
    assert {name: show(LIBRARY[name].elaborated) for name in LIBRARY} == MEANING


@pytest.mark.parametrize("name", LIBRARY)
def test_every_entry_is_described_and_above_suspicion(name: str) -> None:
    program = LIBRARY[name]
    assert program.name == name and len(program.description) > 15
    assert not program.warnings


def test_only_what_a_machine_found_is_shipped_with_suspicious_domains() -> None:
    for shelf in SHELVES:
        codes = {warning.code for warning in load_text(read_shelf(shelf)).warnings}
        assert codes == ({"W601"} if shelf == "evolved" else set()), shelf


@pytest.mark.parametrize("name", [name for name in LIBRARY if LIBRARY.shelf(name) == "evolved"])
def test_what_was_searched_says_on_which_choices(name: str) -> None:
    assert "2 to 4 bits" in " ".join(LIBRARY[name].description.split())


@pytest.mark.parametrize("shelf", SHELVES)
def test_the_library_is_in_standard_layout(shelf: str) -> None:
    assert fmt(read_shelf(shelf)) == read_shelf(shelf)


def test_the_expensive_statistics_serve_the_references_and_what_was_evolved_from_them() -> None:
    forwards = {name for name, row in INPUTS.items() if row.cost == "N forwards"}
    assert {name for name in LIBRARY if forwards & set(inputs(LIBRARY[name].expr))} == {
        "output_mse",
        "output_kl",
        "loss_increase",
        "shift_spread",
        "length_spread",
        "evolved_forwards",
        "evolved_forwards_short",
        "evolved_four_forwards",
        "evolved_across",
    }


def test_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.emq"
    path.write_text("_c = 2\na = w * _c\nb = w\n")
    assert [p.name for p in find("hawq_v2")] == ["hawq_v2"]
    assert [p.name for p in find(str(path))] == ["a", "b"]
    assert [show(p.expr) for p in find(f"{path}:a")] == ["w * 2"]
    assert [(p.name, show(p.expr)) for p in find("w * 2")] == [("", "w * 2")]
    assert find("w")[0].expr == statistic("w")
    assert [show(p.expr) for p in find("hawq - 2 * size")] == ["hess_eig - 2 * numel"]
    for text, expected in [("w+1\n", [""]), ("a = w\nb = a\n", ["a", "b"])]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert [p.name for p in find("-")] == expected


@pytest.mark.parametrize(
    ("what", "code", "words"),
    [
        ("hawk_v2", "E102", "did you mean 'hawq_v2'?"),
        ("grad_synflw", "E102", "did you mean 'grad_synflow'?"),
        ("mean", "E103", "write mean(...)"),
        ("none.emq", "E301", "none.emq"),
        ("w +", "E101", "expected a value"),
        ("", "E101", "empty"),
    ],
)
def test_what_is_not_found(what: str, code: str, words: str) -> None:
    with pytest.raises(EmqError) as caught:
        find(what)
    assert caught.value.diagnostics[0].code == code and words in str(caught.value)


def test_a_library_name_that_is_not_there() -> None:
    assert "nothing" not in LIBRARY and len(LIBRARY) == len(names()) == len(MEANING)
    with pytest.raises(EmqError, match="no proxy of the library"):
        LIBRARY["nothing"]


def test_no_library_name_hides_part_of_the_language() -> None:
    for name in LIBRARY:
        with pytest.raises(EmqError):
            parse(name)


def test_the_paper_has_24_unary_and_4_binary_ops() -> None:
    unary = [op for op in NAMES.values() if op.arity == 1]
    binary = [op for op in NAMES.values() if op.arity == 2]
    assert (len(unary), len(binary)) == (24, 4)
    assert [op.index for op in unary if op.index is not None] == list(range(20))
    assert [op.index for op in binary] == list(range(4))
    assert [op.name for op in unary if op.inferred] == [op.name for op in unary if op.index is None]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_paper_stands_for_an_expression(name: str) -> None:
    w, matrix = statistic("w"), parse("gram(w)").expr
    x = matrix if name == "slogdet" else w
    expr = parse(NAMES[name].text, names={"x": x, "y": x}).expr
    assert expr.kind in (Kind.WEIGHT, Kind.MATRIX, Kind.LAYER)
    assert (NAMES[name].arity == 2) == ("y" in NAMES[name].text)


def test_the_genotype_reads_as_the_library_has_it() -> None:
    """[[1, 11], [6, 14], 2] over (grad_synflow, w), the mean of the softmax as what it is."""
    unary = {op.index: op.text for op in NAMES.values() if op.arity == 1}
    chains = [[1, 11], [6, 14]]
    branches = []
    for chain, leaf in zip(chains, ("grad_synflow", "w"), strict=True):
        value = statistic(leaf)
        for index in chain:
            value = parse(unary[index], names={"x": value}).expr
        branches.append(f"mean({show(value)})")
    assert branches == ["mean(softmax(log(abs(grad_synflow))))", "mean(sqrt(relu(w)))"]
    assert show(LIBRARY["emq_genotype"].expr) == f"{branches[1]} / channels_out"
