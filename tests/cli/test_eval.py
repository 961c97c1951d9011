"""`emqlang eval`: the object of --json, CSV, the screen, its options, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest
from commands import Emq

KEYS = {
    "text",
    "name",
    "elaborated",
    "canonical",
    "inputs",
    "choice_dependent",
    "layers",
    "groups",
    "config",
    "problems",
}
FAST = ("--weights", "random", "--no-cache")
GROUPS = 18
NET = """
from torch import nn

def make():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 5))
    net.input_shape = (3, 8, 8)
    return net
"""


def scored(emq: Emq, *arguments: str, status: int = 0) -> dict:
    done = emq("eval", *arguments, *FAST, "--json")
    assert done.status == status, done.err
    return json.loads(done.out)


def test_json_is_the_object_of_the_manual(emq: Emq) -> None:
    record = scored(emq, "mean(abs(w)) * numel")
    assert {"schema", "proxies", "model", "data", "seconds"} <= set(record)
    assert set(record["seconds"]) == {"statistics", "evaluation"}
    assert {"name", "weights", "weights_sha256", "parameters"} <= set(record["model"])
    assert record["model"]["name"] == "resnet18-fmnist" and "random" in record["model"]["weights"]
    (proxy,) = record["proxies"]
    assert set(proxy) >= KEYS
    assert proxy["text"] == "mean(abs(w)) * numel" and proxy["inputs"] == ["w", "numel", "bits"]
    assert not proxy["choice_dependent"] and proxy["config"] is None and proxy["problems"] == []
    assert set(proxy["layers"][0]) == {"name", "group", "type", "shape", "numel", "value"}
    assert [set(group["scores"]) for group in proxy["groups"]] == [{"W2", "W3", "W4"}] * GROUPS
    assert proxy["layers"][0]["name"] == "conv1" and proxy["layers"][0]["type"] == "Conv2d"


def test_scores_are_bits_times_q_of_the_main_layer(emq: Emq) -> None:
    (proxy,) = scored(emq, "mean(abs(w)) * numel")["proxies"]
    value = {layer["name"]: layer["value"] for layer in proxy["layers"]}
    for group in proxy["groups"]:
        assert {name: group["scores"][f"W{name}"] for name in (2, 3, 4)} == pytest.approx(
            {b: b * value[group["name"]] for b in (2, 3, 4)}
        )


def test_the_bit_weight_may_be_written_or_not(emq: Emq) -> None:
    first, second, third = scored(emq, "mean(abs(w))", "bits * mean(abs(w))", "abs(w)")["proxies"]
    assert first["canonical"] == second["canonical"] == third["canonical"]
    assert first["layers"] == second["layers"] == third["layers"]
    assert not second["choice_dependent"]


def test_a_choice_dependent_proxy_has_no_q_and_adds_up(emq: Emq) -> None:
    (auto,) = scored(emq, "-sum(qerr ** 2)")["proxies"]
    (total,) = scored(emq, "-sum(qerr ** 2)", "--tied", "sum")["proxies"]
    assert auto["choice_dependent"] and all(layer["value"] is None for layer in auto["layers"])
    assert auto["groups"] == total["groups"]
    for group in auto["groups"]:
        assert group["scores"]["W2"] < group["scores"]["W3"] < group["scores"]["W4"] < 0


@pytest.mark.parametrize(
    ("mode", "merge"),
    [("sum", math.fsum), ("mean", lambda values: math.fsum(values) / len(values)), ("main", None)],
)
def test_tied_layers(emq: Emq, mode: str, merge) -> None:
    (proxy,) = scored(emq, "mean(abs(w))", "--tied", mode)["proxies"]
    value = {layer["name"]: layer["value"] for layer in proxy["layers"]}
    tied = [group for group in proxy["groups"] if len(group["layers"]) > 1]
    assert tied
    for group in tied:
        expected = (
            merge([value[name] for name in group["layers"]]) if merge else value[group["name"]]
        )
        assert group["scores"]["W2"] == pytest.approx(2 * expected)


def test_the_score_of_a_configuration_is_a_sum_over_groups(emq: Emq) -> None:
    config = [2, 3, 4] * 6
    (proxy,) = scored(emq, "mean(abs(w))", "--config", ",".join(map(str, config)))["proxies"]
    expected = math.fsum(
        group["scores"][f"W{bits}"] for group, bits in zip(proxy["groups"], config, strict=True)
    )
    assert proxy["config"]["score"] == pytest.approx(expected)
    assert proxy["config"]["bits"] == config


def test_bits_and_menus(emq: Emq) -> None:
    (proxy,) = scored(emq, "mean(abs(w))", "--bits", "3,8")["proxies"]
    assert list(proxy["groups"][0]["scores"]) == ["W3", "W8"]
    (proxy,) = scored(emq, "mean(abs(w)) * act_bits", "--menu", "W2A8,W4A8")["proxies"]
    assert list(proxy["groups"][0]["scores"]) == ["W2A8", "W4A8"]


def test_several_at_once_from_everywhere(emq: Emq, tmp_path: Path) -> None:
    (tmp_path / "mine.emq").write_text("one = mean(abs(w))\ntwo = one * numel\n")
    names = [
        p["name"]
        for p in scored(
            emq,
            "numel",
            f"{tmp_path}/mine.emq:two",
            f"@{tmp_path}/mine.emq:one",
            "--proxy",
            "size",
            "--proxy",
            "bparams",
        )["proxies"]
    ]
    assert names == [None, "two", "one", "size", "bparams"]
    assert [p["name"] for p in scored(emq, f"{tmp_path}/mine.emq")["proxies"]] == ["one", "two"]


def test_stdin(emq: Emq) -> None:
    done = emq("eval", "-", *FAST, "--json", stdin="mean(abs(w))\n")
    assert done.status == 0 and json.loads(done.out)["proxies"][0]["choice_dependent"] is False


def test_a_score_that_is_not_finite_is_null_named_and_4(emq: Emq) -> None:
    done = emq("eval", "exp(numel)", *FAST, "--json")
    (proxy,) = json.loads(done.out)["proxies"]
    assert done.status == 4
    assert None in [layer["value"] for layer in proxy["layers"]]
    assert {problem["code"] for problem in proxy["problems"]} == {"E501"}
    assert proxy["problems"][0]["layer"] in {layer["name"] for layer in proxy["layers"]}
    assert "E501" in done.err


def test_random_weights_are_said_everywhere(emq: Emq) -> None:
    done = emq("eval", "numel", *FAST)
    assert "random" in done.out and "W603" in done.err
    assert "random" in scored(emq, "numel")["model"]["weights"]


def test_scores_that_fall_are_warned_of_with_their_groups(emq: Emq) -> None:
    done = emq("eval", "-numel", *FAST)
    assert done.status == 0 and "W602" in done.err and "conv1" in done.err
    assert "W602" not in emq("eval", "numel", *FAST).err


def test_elaboration_is_said(emq: Emq) -> None:
    assert "mean, bits *" in emq("eval", "abs(w)", *FAST).out
    assert scored(emq, "abs(w)")["proxies"][0]["elaborated"] == "bits * mean(abs(w))"


def test_csv_has_a_line_for_each_proxy_and_layer(emq: Emq) -> None:
    done = emq("eval", "numel", "--proxy", "bparams", *FAST, "--csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert list(rows[0]) == [
        "proxy",
        "layer",
        "group",
        "type",
        "shape",
        "numel",
        "value",
        "W2",
        "W3",
        "W4",
    ]
    assert len(rows) == 2 * 21
    assert all(float(row["value"]) == float(row["numel"]) for row in rows[:21])


@pytest.mark.parametrize("width", [80, 120])
def test_the_screen_fits(emq: Emq, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = emq(
        "eval",
        "numel",
        "--proxy",
        "bparams",
        "--proxy",
        "inv_sqrt_numel",
        "--proxy",
        "late_first",
        *FAST,
    ).out
    assert max(map(len, shown.splitlines())) <= width
    assert all(
        name in shown for name in ("bparams", "inv_sqrt_numel", "late_first", "layer4.1.conv2")
    )


def test_noise_is_said_everywhere(emq: Emq) -> None:
    done = emq("eval", "mean(abs(grad))", *FAST, "--data", "noise:4")
    assert done.status == 0 and "noise" in done.out and "W607" in done.err
    assert "noise" in json.dumps(scored(emq, "mean(abs(grad))", "--data", "noise:4")["data"])


def test_the_same_seed_gives_the_same_scores(emq: Emq) -> None:
    one, two = (scored(emq, "mean(abs(w))", "--seed", "3")["proxies"] for _ in range(2))
    assert one == two
    assert one != scored(emq, "mean(abs(w))", "--seed", "4")["proxies"]


def test_what_needs_images_is_refused_without_any(emq: Emq, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    done = emq("eval", "mean(abs(grad))", "--model", f"{tmp_path}/net.py:make", "--no-cache")
    assert done.status == 3
    assert "E303" in done.err and "--data" in done.err and "noise:" in done.err
    assert (
        emq("eval", "mean(abs(w))", "--model", f"{tmp_path}/net.py:make", "--no-cache").status == 0
    )


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (("numel", "--bits", "two"), 2, "E401"),
        (("numel", "--bits", "2,2"), 2, "E401"),
        (("numel", "--bits", "0"), 2, "E401"),
        (("numel", "--menu", "W2"), 2, "E401"),
        (("numel", "--menu", "W2A8,W4A8"), 1, "E204"),
        (("numel", "--config", "2,3"), 2, "E402"),
        (("numel", "--config", ",".join(["8"] * 18)), 2, "E402"),
        (("log(wx)",), 1, "E102"),
        (("numel", "--proxy", "hawk_v2"), 1, "E102"),
        (("numel", "--model", "resnet19"), 3, "E305"),
        (("numel", "--model", "missing.py:make"), 3, "E301"),
        (("missing.emq:x",), 3, "E301"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_what_is_refused(emq: Emq, arguments: tuple[str, ...], status: int, code: str) -> None:
    done = emq("eval", *arguments, "--no-cache", "--json")
    assert done.status == status, done.err
    assert f"error[{code}]" in done.err and "Traceback" not in done.err
    assert json.loads(done.out)["errors"][0]["code"] == code


def test_statistics_are_cached_and_a_damaged_file_is_rebuilt(emq: Emq, tmp_path: Path) -> None:
    first = emq("eval", "mean(abs(grad))", "--stat-images", "4", "--json")
    entries = json.loads(emq("cache", "info", "--json").out)
    assert entries["files"] >= 1 and entries["bytes"] > 0
    second = emq("eval", "mean(abs(grad))", "--stat-images", "4", "--json")
    assert json.loads(first.out)["proxies"] == json.loads(second.out)["proxies"]
    for path in Path(entries["directory"]).rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-8])
    third = emq("eval", "mean(abs(grad))", "--stat-images", "4", "--json")
    assert (
        "W604" in third.err and json.loads(third.out)["proxies"] == json.loads(first.out)["proxies"]
    )
    assert emq("cache", "clear").status == 0
    assert json.loads(emq("cache", "info", "--json").out)["files"] == 0
