"""`assign --scores`: bits from scores that were measured elsewhere, without any network."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Emq, record
from hypothesis import given
from hypothesis import strategies as st
from places import ROOT

import emqlang as emq_api

EXAMPLE = ROOT / "examples" / "kl_resnet18_fmnist.csv"
TIED = "layer{}.0.conv2|layer{}.0.downsample.0"
HEAD = "name,numel,choice,bits,score\n"
TYPES = {"Q2_K": 2.625, "Q3_K": 3.4375, "Q4_K": 4.5, "Q5_K": 5.5, "Q6_K": 6.5625, "Q8_0": 8.5}


def written(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def chosen(emq: Emq, *words: str) -> dict[str, Any]:
    return record(emq, "assign", "--scores", *words)


def test_the_example_is_solved_and_proven(emq: Emq) -> None:
    found = chosen(emq, str(EXAMPLE), "--avg-bits", "3.5", "--tie", TIED, "--fix", "conv1=W8,fc=W8")
    layers = found["layers"]
    assert found["solver"]["status"] == "optimal" and found["solver"]["gap"] == 0
    assert layers["conv1"]["choice"] == layers["fc"]["choice"] == "W8"
    for stage in (2, 3, 4):
        conv, down = (layers[f"layer{stage}.0.{name}"] for name in ("conv2", "downsample.0"))
        assert conv["choice"] == down["choice"]
    free = [layer for name, layer in layers.items() if name not in ("conv1", "fc")]
    spent = sum(layer["bits"] * layer["numel"] for layer in free)
    assert found["achieved"]["avg-bits"] == spent / sum(layer["numel"] for layer in free) <= 3.5
    assert found["fixed"] == ["conv1", "fc"]
    assert found["solver"]["uniform"]["score"] < found["solver"]["score"]


def test_the_file_is_the_same_five_times(emq: Emq, tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.json" for i in range(5)]
    for file in files:
        words = ("assign", "--scores", str(EXAMPLE), "--bops", "0.3G", "--out", str(file))
        assert emq(*words).status == 0
    assert len({file.read_bytes() for file in files}) == 1
    record = json.loads(files[0].read_text())
    assert record["schema"] == "emqlang-allocation" and record["achieved"]["bops"] <= 3e8


def test_no_network_and_no_torch_are_loaded() -> None:
    program = (
        "import sys; from emqlang.cli import run; "
        f"run(['assign', '--scores', {str(EXAMPLE)!r}, '--avg-bits', '3']); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0


@pytest.mark.parametrize("seed", range(2))
def test_five_hundred_layers_and_ten_types_are_proven(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bits = [2.125, 2.625, 3.4375, 4.25, 4.5, 5.5, 6.5625, 8.5, 9, 16]
    sizes = rng.choice([2**24, 2**22, 7 * 2**23], 500)
    rows = [
        {"name": f"blk.{g}", "numel": int(sizes[g]), "choice": f"T{b}", "bits": b, "loss": loss}
        for g, scale in enumerate(np.exp(rng.normal(0, 1.5, 500)))
        for b, loss in zip(bits, scale * 4.0 ** -np.array(bits) * rng.random(10), strict=True)
    ]
    found = emq_api.assign_scores(rows, avg_bits=4.5)
    assert found.solver is not None
    assert (found.solver.status, found.solver.gap) == ("optimal", 0)
    spent = sum(Fraction(layer.bits) * layer.numel for layer in found.layers.values())
    assert spent <= Fraction(9, 2) * int(sizes.sum())
    assert found == emq_api.assign_scores(rows, avg_bits=4.5)


@pytest.mark.filterwarnings("ignore::emqlang.EmqWarning")
@given(st.data())
def test_it_is_what_brute_force_finds(data: st.DataObject) -> None:
    """Fractional bits, tied layers, one budget or two; scores are whole, so that sums are exact."""
    layers, names = data.draw(st.integers(1, 4)), list(TYPES)[: data.draw(st.integers(1, 4))]
    numels = data.draw(st.lists(st.integers(1, 40), min_size=layers, max_size=layers))
    drawn = st.integers(-50, 50)
    scores = {(g, name): data.draw(drawn) for g in range(layers) for name in names}
    rows = [
        {"name": f"l{g}", "numel": numels[g], "choice": n, "bits": TYPES[n], "score": scores[g, n]}
        for g in range(layers)
        for n in names
    ]
    average, tied = Fraction(data.draw(st.integers(20, 90)), 10), data.draw(st.booleans())
    limit = data.draw(st.none() | st.integers(1, 120))
    best = None
    for config in itertools.product(names, repeat=layers):
        pairs = list(zip(numels, config, strict=True))
        size = sum(-(-Fraction(TYPES[n]) * numel // 8) for numel, n in pairs)
        if sum(Fraction(TYPES[n]) * numel for numel, n in pairs) > average * sum(numels):
            continue
        if (tied and len(set(config[:2])) > 1) or (limit is not None and size > limit):
            continue
        total = sum(scores[g, n] for g, n in enumerate(config))
        best = total if best is None else max(best, total)
    options = {"avg_bits": str(float(average)), "size": limit}
    if tied and layers > 1:
        options["tie"] = "l[01]"
    if best is None:
        with pytest.raises(emq_api.EmqError, match="no choice of bits"):
            emq_api.assign_scores(rows, **options)  # type: ignore[arg-type]
        return
    solver = emq_api.assign_scores(rows, **options).solver  # type: ignore[arg-type]
    assert solver is not None and (solver.score, solver.gap) == (best, 0)


def test_a_foreign_layout_and_loss(emq: Emq, tmp_path: Path) -> None:
    text = "tensor;elements;type;bpw;kld;note\n" + "".join(
        f"{name};100;{kind};{bits};{kld};x\n"
        for name, klds in (("a", (1, 0.1)), ("b", (1, 0.2)))
        for (kind, bits), kld in zip((("Q4_K", 4.5), ("Q8_0", 8.5)), klds, strict=True)
    )
    file = written(tmp_path / "foreign.csv", text)
    columns = "name=tensor,numel=elements,choice=type,bits=bpw,loss=kld"
    found = chosen(emq, file, "--columns", columns, "--avg-bits", "6.5")
    assert {name: layer["choice"] for name, layer in found["layers"].items()} == {
        "a": "Q8_0",
        "b": "Q4_K",
    }
    assert found["achieved"] == {"size": 57 + 107, "avg-bits": 6.5}
    assert emq("assign", "--scores", file, "--avg-bits", "6").status == 3


def test_json_rows_say_the_same_as_csv(emq: Emq, tmp_path: Path) -> None:
    header, *lines = (line.split(",") for line in EXAMPLE.read_text().splitlines())
    rows = [dict(zip(header, cells, strict=True)) for cells in lines]
    for row in rows:
        row.update({name: json.loads(row[name]) for name in ("numel", "bits", "loss", "macs")})
    file = written(tmp_path / "scores.json", json.dumps(rows))
    words = ("--size", "0.3MiB")
    assert chosen(emq, file, *words)["layers"] == chosen(emq, str(EXAMPLE), *words)["layers"]


def test_latency_and_fronts(emq: Emq, tmp_path: Path) -> None:
    rows = ("a,10,4,4,-1,2.5", "a,10,8,8,0,1", "b,10,4,4,-3,0.5", "b,10,8,8,0,4")
    file = written(tmp_path / "s.csv", HEAD.strip() + ",latency\n" + "\n".join(rows))
    assert chosen(emq, file, "--latency", "1.5ms")["achieved"]["latency"] == 1_500_000
    done = emq("assign", "--scores", file, "--sweep", "--over", "latency", "--json")
    front = json.loads(done.out)
    assert front["complete"] and front["over"] == "latency"
    assert [(p["cost"], p["choices"]) for p in front["points"]] == [
        (1_500_000, ["8", "4"]),
        (5_000_000, ["8", "8"]),
    ]
    lines = emq("assign", "--scores", file, "--sweep", "--avg-bits", "6", "--csv").out.splitlines()
    assert lines == ["cost,score,a,b", "4.0,-4.0,4,4", "6.0,-1.0,4,8"]


def test_a_front_of_too_many_points_is_drawn_at_spaced_budgets(
    emq: Emq, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("assign", "--scores", str(EXAMPLE), "--sweep", "--json")
    whole = json.loads(emq(*words).out)
    monkeypatch.setattr("emqlang.tasks.measured.STATES", 100)
    spaced = json.loads(emq(*words).out)
    assert whole["complete"] and not spaced["complete"] and 20 < len(spaced["points"]) <= 41
    every = {(p["cost"], p["score"]) for p in whole["points"]}
    assert {(p["cost"], p["score"]) for p in spaced["points"]} < every
    assert all(point["status"] == "optimal" for point in spaced["points"])
    assert "there are more" in " ".join(emq(*words[:-1]).out.split())


def test_scores_that_are_losses_are_noticed(emq: Emq, tmp_path: Path) -> None:
    file = written(tmp_path / "s.csv", f"{HEAD}a,10,4,4,1\na,10,8,8,0.1\n")
    done = emq("assign", "--scores", file, "--avg-bits", "8")
    assert done.status == 0 and "W602" in done.err and "loss=score" in done.err
    done = emq("assign", "--scores", file, "--avg-bits", "8", "--columns", "loss=score")
    assert "W602" not in done.err


def test_a_layer_without_a_choice_is_never_given_it(emq: Emq, tmp_path: Path) -> None:
    rows = f"{HEAD}a,10,4,4,-1\na,10,8,8,0\nb,10,4,4,-9\nb,10,8,8,\n"
    file = written(tmp_path / "s.csv", rows)
    assert emq("assign", "--scores", file, "--avg-bits", "8").status == 3
    found = chosen(emq, file, "--avg-bits", "8", "--partial")
    assert found["layers"]["b"]["choice"] == "4" and found["layers"]["a"]["choice"] == "8"
    assert found["solver"]["uniform"]["choice"] == "4"


MISTAKES = {
    "a,10,4,4,nan": ("score: 'nan' is not a finite number", "2:10"),
    "a,10,4,4,inf": ("score: 'inf' is not a finite number", "2:10"),
    "a,10,4,4,1e999": ("score: '1e999' is not a finite number", "2:10"),
    "a,10,4,4,": ("the score is empty", "2:10"),
    "a,0,4,4,1": ("numel: a layer has at least one weight", "2:3"),
    "a,1.5,4,4,1": ("numel: '1.5' is not a whole number", "2:3"),
    "a,10,4,0,1": ("bits: '0' is not above 0", "2:8"),
    "a,10,4,4x,1": ("bits: '4x' is not a finite number", "2:8"),
    ",10,4,4,1": ("the name is empty", "2:1"),
    "a,10,4,4": ("4 cells under 5 columns", "2:1"),
    'a,10,4,4,"1': ("this is not CSV", "2:1"),
    "a,10,4,4,1\na,10,4,4,2": ("layer 'a' has a row for 4 already", "3:6"),
    "a,10,4,4,1\na,11,8,8,2": ("layer 'a' has 10 numel on line 2", "3:3"),
    "a,10,4,4,1\na,10,8,8,2\nb,10,4,4,1": ("layer 'b' has no row for 8", ""),
    "": ("there are no rows", ""),
}


@pytest.mark.parametrize("rows", MISTAKES)
def test_a_mistake_in_the_file_has_its_place(emq: Emq, tmp_path: Path, rows: str) -> None:
    message, place = MISTAKES[rows]
    file = written(tmp_path / "s.csv", HEAD + rows)
    done = emq("assign", "--scores", file, "--avg-bits", "4")
    assert done.status == 3 and "error[E321]" in done.err and message in done.err
    assert f"{file}:{place}" in done.err if place else file in done.err


def test_mistakes_are_reported_together(emq: Emq, tmp_path: Path) -> None:
    rows = "".join(f"l{i},10,4,4,x\n" for i in range(20))
    file = written(tmp_path / "s.csv", HEAD + rows)
    done = emq("assign", "--scores", file, "--avg-bits", "4")
    assert done.err.count("error[E321]") == 10


REFUSED = {
    ("--avg-bits", "0.5"): (1, "avg-bits is 4 bits at least"),
    ("--latency", "3ms"): (2, "needs the column 'latency'"),
    ("--bops", "3G"): (2, "needs the column 'macs'"),
    ("--avg-bits", "4", "--tie", "x*"): (2, "'x*' matches no layer"),
    ("--avg-bits", "4", "--tie", "{}"): (2, "'{}' ties no two layers"),
    ("--avg-bits", "4", "--fix", "a=5"): (2, "layer 'a' has no choice '5'"),
    ("--avg-bits", "4", "--fix", "c=4"): (2, "'c' names no layer"),
    ("--avg-bits", "4", "--fix", "a=4,?=8"): (2, "layer 'a' is fixed to 4 and to 8"),
    ("--avg-bits", "4", "--columns", "name=layer"): (2, "the file has no column 'layer'"),
    ("--avg-bits", "4", "--columns", "nam=name"): (2, "did you mean 'name'?"),
    ("--sweep", "--over", "size", "--avg-bits", "4"): (2, "a front over size cannot keep"),
    (): (2, "there is no budget"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_done_is_said(emq: Emq, tmp_path: Path, words: tuple[str, ...]) -> None:
    status, message = REFUSED[words]
    rows = "".join(f"{n},10,{b},{b},{b}\n" for n in "ab" for b in (4, 8))
    done = emq("assign", "--scores", written(tmp_path / "s.csv", HEAD + rows), *words)
    assert done.status == status and message in " ".join(done.err.split())


def test_unknown_columns_are_refused(emq: Emq, tmp_path: Path) -> None:
    file = written(tmp_path / "s.csv", HEAD.strip() + ",latancy\na,10,4,4,1,2\n")
    done = emq("assign", "--scores", file, "--avg-bits", "4")
    assert done.status == 3 and "unknown columns: latancy" in done.err


def test_python_takes_rows_and_says_where_they_are_wrong() -> None:
    rows = [{"name": "a", "numel": 8, "choice": "4", "bits": 4, "score": float("nan")}]
    with pytest.raises(emq_api.EmqError, match="row 1: score: 'nan' is not a finite number"):
        emq_api.assign_scores(rows, avg_bits=4)
    with pytest.raises(emq_api.EmqError, match="a row is a int"):
        emq_api.assign_scores([3], avg_bits=4)  # type: ignore[list-item]
    with pytest.warns(emq_api.EmqWarning, match="W602"):
        two = [rows[0] | {"score": 1}, rows[0] | {"score": 0, "choice": "8", "bits": 8}]
        found = emq_api.assign_scores(two, size=4, fix={"a": "4"})
    assert found.choices == {"a": "4"} and found.bits == {"a": 4.0}
