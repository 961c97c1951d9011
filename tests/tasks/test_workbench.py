"""The workbench: statistics are collected and warnings given once; configurations fit the menu."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from emqlang import api
from emqlang.grammar import parse
from emqlang.grammar.diagnostics import EXIT_NOT_FINITE, EXIT_OK, EmqError
from emqlang.grammar.program import Program
from emqlang.quant.bits.menu import parse_bits
from emqlang.tasks.eval import evaluate
from emqlang.tasks.workbench import Workbench, WorkbenchOptions


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 5)).eval()


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(12, 2, 6, 6, generator=generator)
    return [(images[:8], torch.arange(8) % 5), (images[8:], torch.arange(4))]


def bench(menu: str | None = None, heard: list[str] | None = None, **options: object) -> Workbench:
    made = api.collect(net(), batches(), menu=menu, images=12, hessian_samples=4, **options)  # type: ignore[arg-type]
    if heard is not None:
        made.progress = lambda name, done, total: heard.append(name)
    return made


def programs(*texts: str) -> list[Program]:
    return [parse(text) for text in texts]


def values(made: Workbench, *texts: str) -> list[bytes]:
    return [scored.table.values.tobytes() for scored in evaluate(made, programs(*texts)).scored]


def codes(caught: pytest.ExceptionInfo[EmqError]) -> list[str]:
    return [diagnostic.code for diagnostic in caught.value.diagnostics]


def test_only_what_is_new_is_collected() -> None:
    heard: list[str] = []
    made = bench(heard=heard)
    values(made, "mean(abs(w)) * numel")
    assert heard == []
    values(made, "mean(grad)")
    assert heard
    heard.clear()
    values(made, "std(grad) * mean(abs(w)) + depth")
    assert heard == []
    values(made, "mean(hess) + std(grad)")
    assert set(heard) == {"hess"}


def test_statistics_that_came_one_by_one_are_those_that_come_together() -> None:
    texts = (
        "mean(abs(act * grad_act))",
        "mean(fisher) / mean(grad ** 2)",
        "-sum(qerr ** 2 * hess)",
        "log(grad_synflow)",
        "act_var",
    )
    made = bench()
    for name in (
        "w",
        "act",
        "numel",
        "grad_act",
        "qerr",
        "hess",
        "fisher",
        "grad",
        "grad_synflow",
        "act_var",
    ):
        made.statistics([name])
    assert values(made, *texts) == values(bench(), *texts)
    assert values(made, *texts) == [value for text in texts for value in values(bench(), text)]


def test_what_the_canonical_form_cancels_is_not_collected() -> None:
    heard: list[str] = []
    made = bench(heard=heard)
    values(made, "mean(w + grad - grad)")
    assert heard == []


def test_images_are_named_where_they_were_read() -> None:
    made = bench()
    assert evaluate(made, programs("mean(w)")).data == ""
    assert evaluate(made, programs("mean(grad)")).data
    assert evaluate(made, programs("mean(w)")).data == ""


def test_warnings_are_given_once() -> None:
    made = Workbench(WorkbenchOptions(weights="random", data="noise:2", cache=False))
    first = evaluate(made, programs("mean(grad)"))
    assert [notice.code for notice in first.notices] == ["W603", "W607"]
    assert evaluate(made, programs("mean(grad) * numel")).notices == ()


def test_diagnostics_are_notices_then_falls_then_what_is_not_finite() -> None:
    made = bench()
    done = evaluate(made, programs("exp(numel ** 2)", "-numel", "numel"))
    assert [diagnostic.code for diagnostic in done.diagnostics] == ["W602", "E501"]
    assert [len(scored.table.problems) for scored in done.scored] == [2, 0, 0]
    assert done.exit_status == EXIT_NOT_FINITE
    assert evaluate(made, programs("-numel")).exit_status == EXIT_OK


def test_the_score_of_a_configuration() -> None:
    done = evaluate(bench(), programs("mean(abs(w))", "exp(numel ** 2)"), config="2,4")
    first, second = done.scored
    assert done.config is not None and [str(choice) for choice in done.config] == ["W2", "W4"]
    assert first.config_score == math.fsum((first.table.scores[0, 0], first.table.scores[1, 2]))
    assert second.config_score is None
    assert evaluate(bench(), programs("mean(w)")).config is None


@pytest.mark.parametrize("config", ["2,3,4", "2,8", "two,2"])
def test_configurations_that_do_not_fit(config: str) -> None:
    with pytest.raises(EmqError) as caught:
        evaluate(bench(), programs("mean(w)"), config=config)
    assert codes(caught) == ["E402"]
    assert caught.value.exit_status == 2


def test_a_menu_of_pairs_needs_a_program_that_reads_activation_bits() -> None:
    made = bench("W2A4,W4A8")
    with pytest.raises(EmqError) as caught:
        evaluate(made, programs("mean(qerr ** 2) * act_bits", "mean(w)"))
    assert codes(caught) == ["E204"]
    assert "'mean(w)'" in caught.value.diagnostics[0].message
    (scored,) = evaluate(made, programs("bits * act_bits")).scored
    assert scored.table.scores.tolist() == [[8, 32], [8, 32]]


def test_bits_and_a_menu_exclude_each_other() -> None:
    with pytest.raises(EmqError) as caught:
        WorkbenchOptions(bits="2,3", menu="W2A4").choices()
    assert codes(caught) == ["E403"]


def test_another_menu_on_the_same_network() -> None:
    made = bench()
    assert made.with_choices(made.choices) is made
    other = made.with_choices(parse_bits("8,2"))
    assert other.network is made.network and other.data is made.data
    eight, two = evaluate(other, programs("-mean(qerr ** 2)")).scored[0].table.values.T
    assert (
        two.tobytes()
        == evaluate(made, programs("-mean(qerr ** 2)")).scored[0].table.values[:, 0].tobytes()
    )
    assert (eight > two).all()


def test_layers_know_their_groups() -> None:
    made = Workbench(WorkbenchOptions(weights="random", cache=False))
    done = evaluate(made, programs("numel"))
    tied = {
        name: group
        for name, group in zip((layer.name for layer in done.layers), done.group_of, strict=True)
        if name != group
    }
    assert tied == {f"layer{i}.0.downsample.0": f"layer{i}.0.conv2" for i in (2, 3, 4)}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there() -> None:
    made = bench()
    with pytest.raises(EmqError) as caught:
        options = replace(made.options, device="cuda")
        elsewhere = Workbench(options, network=made.network, data=made.data)
        evaluate(elsewhere, programs("mean(w)"))
    assert codes(caught) == ["E403"]
