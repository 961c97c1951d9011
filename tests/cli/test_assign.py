"""`emqlang assign`: budgets, fronts, walks, imported bits, and what is refused with what help."""

from __future__ import annotations

import csv
import io
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from commands import Emq, record
from loaders import Quick, quick
from own_network import own

__all__ = ["own", "quick"]  # fixtures

FREE = "-sum(square(qerr))"  # a loss that needs no images
GROUPS = 18


def assigned(emq: Emq, *arguments: str, status: int = 0) -> dict[str, Any]:
    return record(emq, "assign", *arguments, status=status)


def test_the_object_of_json(emq: Emq) -> None:
    found = assigned(emq, FREE, "--avg-bits", "3", "--size", "0.3MiB")
    assert (
        found["schema"] == "emqlang.assign/1" and found["status"] == "optimal" and found["gap"] == 0
    )
    assert found["achieved"]["size"] <= found["budgets"]["size"] == int(0.3 * 2**20)
    assert found["achieved"]["avg-bits"] <= found["budgets"]["avg-bits"]
    assert len(found["groups"]) == GROUPS and {group["choice"] for group in found["groups"]} <= {
        "W2",
        "W3",
        "W4",
    }
    assert found["proxy"]["text"] == FREE and len(found["proxy"]["key"]) == 32
    assert found["model"]["weights"] == "embedded" and found["seconds"] >= 0


def test_the_screen_says_what_was_achieved(emq: Emq) -> None:
    shown = emq("assign", FREE, "--size", "0.3MiB").out
    assert "proven optimal" in shown and "of 0.3 MiB" in shown and "layer2.0.downsample.0" in shown


def test_csv_has_a_line_a_group(emq: Emq) -> None:
    rows = list(csv.DictReader(io.StringIO(emq("assign", FREE, "--avg-bits", "3", "--csv").out)))
    assert len(rows) == GROUPS and set(rows[0]) == {"group", "tied", "choice", "weights"}
    assert sum(int(row["weights"]) * int(row["choice"][1:]) for row in rows) <= 3 * sum(
        int(row["weights"]) for row in rows
    )


def test_layers_can_be_fixed_by_patterns(emq: Emq) -> None:
    groups = assigned(emq, FREE, "--avg-bits", "3", "--fix", "conv1=8,layer4.*=2,fc=8")["groups"]
    chosen = {group["name"]: group["choice"] for group in groups}
    assert chosen["conv1"] == chosen["fc"] == "W8"
    assert {choice for name, choice in chosen.items() if name.startswith("layer4")} == {"W2"}


def test_tied_layers_get_one_choice(emq: Emq, tmp_path: Path) -> None:
    emq("assign", FREE, "--avg-bits", "3", "--out", str(tmp_path / "recipe.json"))
    layers = json.loads((tmp_path / "recipe.json").read_text())["layers"]
    bits = {name: entry["weight"]["num_bits"] for name, entry in layers.items()}
    assert all(bits[f"layer{i}.0.conv2"] == bits[f"layer{i}.0.downsample.0"] for i in (2, 3, 4))


def test_activation_bits_may_be_chosen_too(emq: Emq) -> None:
    found = assigned(
        emq,
        "-(sum(square(qerr)) + act_qerr)",
        "--menu",
        "W2A4,W4A4,W4A8",
        "--bops",
        "0.2G",
        "--stat-images",
        "4",
    )
    first, *others = (group["choice"] for group in found["groups"])
    assert set(others) <= {"W2A4", "W4A4", "W4A8"} and "W4A4" in others
    assert first in {"W2A8", "W4A8"}, "the network's own input has 8 bits"
    assert found["achieved"]["bops"] <= 0.2e9


def test_the_front_is_complete_and_undominated(emq: Emq) -> None:
    points = assigned(emq, FREE, "--sweep")["points"]
    assert all(a["cost"] < b["cost"] and a["score"] < b["score"] for a, b in pairwise(points))
    half = points[len(points) // 2]
    best = assigned(emq, FREE, "--size", f"{half['cost']}B")
    assert best["score"] == pytest.approx(half["score"], rel=1e-12), (
        "the front's point is the best under its own cost"
    )
    assert len(emq("assign", FREE, "--sweep", "--over", "avg-bits", "--csv").out.splitlines()) > 100


def test_a_limit_cuts_the_front(emq: Emq) -> None:
    points = assigned(emq, FREE, "--sweep", "--size", "0.25MiB")["points"]
    assert max(point["cost"] for point in points) <= 0.25 * 2**20


def test_the_papers_way_is_never_better(emq: Emq) -> None:
    exact = assigned(emq, FREE, "--avg-bits", "3")
    sampled = assigned(emq, FREE, "--avg-bits", "3", "--method", "sample", "--samples", "2000")
    assert sampled["score"] <= exact["score"] and sampled["status"] != "optimal"


@pytest.mark.parametrize("count", [1, 18, 21])
def test_published_lists_are_read(emq: Emq, count: int) -> None:
    found = assigned(emq, "--config", ",".join(["4"] * count), "--accounting", "weights")
    assert {group["choice"] for group in found["groups"]} == {"W4"} and found["proxy"] is None


def test_a_json_of_names_is_read(emq: Emq, tmp_path: Path) -> None:
    path = tmp_path / "bits.json"
    groups = assigned(emq, FREE, "--avg-bits", "3")["groups"]
    path.write_text(json.dumps({group["name"]: int(group["choice"][1:]) for group in groups}))
    assert assigned(emq, "--config", str(path))["groups"] == groups


def test_latency_comes_from_a_table(emq: Emq, tmp_path: Path) -> None:
    layers = [group["layers"] for group in assigned(emq, "--config", "4")["groups"]]
    names = [name for group in layers for name in group]
    table = tmp_path / "latency.csv"
    rows = [f"{name},W{bits},{bits / 10}" for name in names for bits in (2, 3, 4)]
    table.write_text("\n".join(["layer,choice,milliseconds", *rows]))
    found = assigned(emq, FREE, "--latency", "6ms", "--latency-table", str(table))
    assert found["achieved"]["latency"] <= 6_000_000
    table.write_text("\n".join(["layer,choice,milliseconds", *rows[3:]]))
    assert (
        assigned(emq, FREE, "--latency", "6ms", "--latency-table", str(table), status=3)["errors"][
            0
        ]["code"]
        == "E313"
    )


def test_max_drop_chooses_by_one_half_and_reports_on_the_other(emq: Emq, quick: Quick) -> None:
    images = [option for option in quick if option != "--no-check"]
    words = ("assign", FREE, "--max-drop", "6%", "--fix", "layer[1-3].*=4", *images)
    found = json.loads(emq(*words, "--json").out)
    tried, final = found["tried"], found["final"]
    assert found["best"]["achieved"]["size"] == min(
        point["cost"] for point in tried if point["enough"]
    )
    assert all((point["at_most"] <= 0.06) is point["enough"] for point in tried) and len(tried) >= 3
    assert all(point["drop"] < point["at_most"] for point in tried) and found["confidence"] == 0.95
    assert "own.py:few" in found["validation"] and "own.py:few" in final["data"]
    assert found["validation"] != final["data"] and found["images"] == final["images"] == 200
    assert final["measure"] == "accuracy" and final["quantized"] == final["accuracy"] > 0.8
    assert final["drop"] == pytest.approx(final["float"] - final["quantized"])
    assert final["within"] is (final["drop"] <= 0.06)
    shown = " ".join(emq(*words).out.split())
    assert f"float {final['float']:.2%}: {final['drop']:.2%} lost" in shown
    assert "first half" in shown and "second half" in shown and "at most" in shown


def test_max_drop_that_cannot_be_had(emq: Emq) -> None:
    """The shipped test images in two halves: one to choose by, one to report on."""
    found = assigned(emq, FREE, "--max-drop", "0%", "--bits", "2", "--calib-images", "64", status=1)
    assert "first half, 5,000 of" in found["validation"]
    assert found["best"] is None and found["final"] is None and len(found["tried"]) == 1


def test_few_images_say_that_they_cannot_tell(emq: Emq, quick: Quick) -> None:
    images = [option for option in quick if option != "--no-check"]
    done = emq("assign", FREE, "--max-drop", "0.5%", "--bits", "8", *images)
    assert done.status == 1 and "so few images cannot tell" in done.out


def test_a_mark_that_the_other_half_misses_is_warned_of(
    emq: Emq, quick: Quick, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the margin, and by images on which nothing is lost, anything is chosen."""
    monkeypatch.setattr("emqlang.tasks.assign.most", lambda *_: 0.0)
    images = [option for option in quick if option != "--no-check"]
    done = emq("assign", FREE, "--max-drop", "1%", "--bits", "2", *images, "--json")
    final = json.loads(done.out)["final"]
    assert final["drop"] > 0.01 and final["within"] is False and "W616" in done.err


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (["--size", "0MiB"], 2, "E404"),
        (["--size", "-3MiB"], 2, "E404"),
        (["--size", "4.5"], 2, "E404"),
        (["--size", "4.5 parsecs"], 2, "E404"),
        (["--avg-bits", "3MiB"], 2, "E404"),
        (["--avg-bits", "nan"], 2, "E404"),
        (["--size", "1KiB"], 1, "E405"),
        (["--avg-bits", "3", "--fix", "nowhere=8"], 2, "E402"),
        (["--avg-bits", "3", "--fix", "conv1=99"], 2, "E402"),
        (["--avg-bits", "3", "--fix", "conv1"], 2, "E402"),
        (["--latency", "3ms"], 2, "E403"),
        ([], 2, "E403"),
        (["--sweep", "--size", "1MiB", "--over", "bops"], 2, "E403"),
    ],
)
def test_what_cannot_be_met_is_refused(
    emq: Emq, arguments: list[str], status: int, code: str
) -> None:
    assert assigned(emq, FREE, *arguments, status=status)["errors"][0]["code"] == code


def test_what_is_fixed_is_named_where_it_makes_a_budget_impossible(emq: Emq) -> None:
    words = (FREE, "--bits", "4,8", "--size", "0.4MiB", "--fix", "fc=2,layer4.*=8")
    (error,) = assigned(emq, *words, status=1)["errors"]
    assert "--fix takes" in error["help"][1] and "for layer4.0.conv1, layer4.0" in error["help"][1]
    assert error["help"][-1] == "without --fix there is an assignment"
    # the menu without --fix has no 2 bits, which would do
    words = (*words[:3], "--size", "0.343MiB", *words[5:])
    (error,) = assigned(emq, *words, status=1)["errors"]
    assert error["help"][-1] == "releasing --fix would not help"


@pytest.mark.parametrize(
    "words",
    [
        ("assign", "fisher_error"),
        ("assign", "fisher_error", "--sweep"),
        ("assign", "fisher_error", "--max-drop", "1%"),
        ("assign", "fisher_error", "--method", "sample"),
        ("quantize", "fisher_error"),
    ],
)
def test_an_impossible_budget_is_refused_before_an_image_is_read(
    emq: Emq, own: Path, words: tuple[str, ...]
) -> None:
    network = ("--model", "my.py:build", "--input", "1x28x28", "--data", "my.py:read")
    done = emq(*words, "--size", "9B", *network, "--json")
    assert json.loads(done.out)["errors"][0]["code"] == "E405", done.err


def test_images_that_lack_are_missed_before_a_statistic_is_taken(emq: Emq, own: Path) -> None:
    network = ("--model", "my.py:build", "--data", "my.py:data", "--calib-images", "65")
    for words in (("assign", FREE, "--max-drop", "1%"), ("quantize", FREE, "--avg-bits", "3")):
        done = emq(*words, *network, "--json")
        assert json.loads(done.out)["errors"][0]["code"] == "E304", done.err


def test_an_impossible_budget_says_what_is_possible(emq: Emq) -> None:
    (error,) = assigned(
        emq, FREE, "--size", "0.2MiB", "--bops", "0.15G", "--fix", "layer4.*=4", status=1
    )["errors"]
    help = " ".join(error["help"])
    assert "size" in help and "bops" in help and "without --fix there is an assignment" in help
    (error,) = assigned(emq, FREE, "--size", "1KiB", "--fix", "conv1=4", status=1)["errors"]
    assert "would not help" in " ".join(error["help"])


def test_usage(emq: Emq) -> None:
    assert emq("assign").status == 2
    assert emq("assign", FREE, "--config", "4").status == 2
    assert emq("assign", FREE, "--sweep", "--max-drop", "1%").status == 2
    assert emq("assign", FREE, "--max-drop", "lots").status == 2
    assert emq("assign", FREE, "--avg-bits", "3", "--json", "--csv").status == 2


def test_scores_that_are_not_finite_choose_nothing(emq: Emq) -> None:
    assert (
        assigned(emq, "exp(exp(numel))", "--avg-bits", "3", status=4)["errors"][0]["code"] == "E501"
    )
