"""Pictures: drawn from what commands wrote, or refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import Emq

from emqlang.quant.ptq.recipe import load_recipe


@pytest.fixture
def recipes(emq: Emq, tmp_path: Path) -> list[str]:
    paths = [str(tmp_path / f"{name}.json") for name in ("low", "high")]
    for path, bits in zip(paths, ("2.5", "3.5"), strict=True):
        emq("assign", "-sum(square(qerr))", "--avg-bits", bits, "--out", path)
    return paths


def test_bits_of_every_layer(emq: Emq, recipes: list[str], tmp_path: Path) -> None:
    out = tmp_path / "bits.svg"
    assert str(out) in emq("plot", "bits", *recipes, "--out", str(out)).err
    picture = out.read_text()
    for text in load_recipe(recipes[0]).bits:
        assert f"<!-- {text} -->" in picture
    for name in recipes:
        assert f"{Path(name).name}: mean over layers" in picture
    again = emq("plot", "bits", *recipes, "--out", str(out))
    assert again.status and "E317" in again.err and out.read_text() == picture
    emq("plot", "bits", *recipes, "--out", str(out), "--force")
    assert out.read_text() == picture
    raster = tmp_path / "bits.png"
    emq("plot", "bits", recipes[0], "--out", str(raster))
    assert raster.read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_drawn(emq: Emq, recipes: list[str], tmp_path: Path) -> None:
    other = str(tmp_path / "other.json")
    emq("assign", "-sum(square(qerr))", "--model", "vgg-fmnist", "--avg-bits", "3", "--out", other)
    out = tmp_path / "bits.svg"
    text = tmp_path / "text.json"
    text.write_text("[]")
    wrong = [
        ([*recipes, other], out, "E403"),
        ([str(tmp_path / "none.json")], out, "E301"),
        ([str(text)], out, "E310"),
        (recipes, tmp_path / "bits.gif", "E403"),
        (recipes, tmp_path, "E301"),
    ]
    for given, place, code in wrong:
        done = emq("plot", "bits", *given, "--out", str(place))
        assert done.status and code in done.err
        assert not out.exists()


def test_scores_against_accuracies(emq: Emq, tmp_path: Path) -> None:
    out = tmp_path / "scatter.svg"
    done = emq("plot", "scatter", "early_first", "bit_sum", "--out", str(out), "--by", "loss")
    assert done.status == 0 and str(out) in done.err
    picture = out.read_text()
    assert "early_first" in picture and "bit_sum" in picture and "neg_log_numel" not in picture
    for words, code in (
        ((), "E403"),
        (("no_proxy",), "E102"),
        (("bit_sum", "--table", "nothing"), "E301"),
    ):
        done = emq("plot", "scatter", *words, "--out", str(tmp_path / "other.png"))
        assert done.status and code in done.err and not (tmp_path / "other.png").exists()
