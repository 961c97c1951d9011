"""Tables out and in: CSV, Parquet, and the authors' pickle, of which no code is run."""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Emq
from hypothesis import given
from hypothesis import strategies as st
from small_table import options

from emqlang.cli import run
from emqlang.quant.tables.exchange import plain_value
from emqlang.quant.tables.table import load


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("table")
    assert run(["bench", "build", "--out", str(folder / "own.table"), *options(folder)]) == 0
    yield folder / "own.table"


def test_a_csv_comes_back_as_it_went(built: Path, tmp_path: Path, emq: Emq) -> None:
    csv, back = tmp_path / "rows.csv", tmp_path / "back.table"
    assert emq("bench", "export", str(built), "--out", str(csv)).status == 0
    done = emq(
        "bench",
        "import",
        str(csv),
        "--model",
        f"{built.parent / 'small.py'}:network",
        "--out",
        str(back),
    )
    assert done.status == 0, done.err
    one, two = load(str(built)), load(str(back))
    assert (
        (one.bits == two.bits).all()
        and (one.accuracy == two.accuracy).all()
        and (one.search == two.search).all()
    )
    assert one.right is not None and two.right is not None and (one.right == two.right).all()
    assert (
        (one.size == two.size).all()
        and (one.bops == two.bops).all()
        and (one.loss == two.loss).all()
    )
    assert "imported from rows.csv" in emq("bench", "info", str(back)).out
    assert emq("rank", "bit_sum", "--table", str(back)).status == 0
    again = emq(
        "bench",
        "import",
        str(csv),
        "--model",
        f"{built.parent / 'small.py'}:network",
        "--out",
        str(back),
    )
    assert again.status == 3 and "exists already" in again.err


def test_parquet_holds_the_same(built: Path, tmp_path: Path, emq: Emq) -> None:
    from pyarrow import parquet

    out = tmp_path / "rows.parquet"
    assert emq("bench", "export", str(built), "--out", str(out)).status == 0
    found, table = parquet.read_table(out), load(str(built))
    assert (
        found["accuracy"].to_pylist() == table.accuracy.tolist()
        and len(found["marks"][0].as_py()) == 32
    )
    assert b"weights_sha256" in found.schema.metadata[b"emqlang"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("config,accuracy\n2,2,2,2\n", "no config or no accuracy"),
        ("bits,acc\n2,0.5\n", "no config or no accuracy"),
        ('config,accuracy\n"2,2,2,2",50\n', "from 0 to 1, and this is 50"),
        ('config,accuracy\n"2,2,2",0.5\n', "row 0: the configuration has 3 entries"),
        ('config,accuracy\n"2,2,2,2",0.5\n"2,2,2,2",0.6\n', "appears twice"),
        ('config,accuracy\n"2,2,2,2",half\n', "line 2 cannot be read"),
        ('config,accuracy,marks\n"2,2,2,2",0.5,8:AAA=\n', "line 2 cannot be read"),
        ('config,accuracy,marks\n"2,2,2,2",0.5,8:AA==\n', "the marks say 0.0000% right"),
        ('config,accuracy\n"2,2,2,x",0.5\n', "row 0: 'x' is not a choice"),
    ],
)
def test_bad_lines_are_named(built: Path, tmp_path: Path, emq: Emq, text: str, said: str) -> None:
    csv, out = tmp_path / "rows.csv", tmp_path / "out.table"
    csv.write_text(text)
    done = emq(
        "bench",
        "import",
        str(csv),
        "--model",
        f"{built.parent / 'small.py'}:network",
        "--out",
        str(out),
    )
    assert done.status == 3 and "E314" in done.err and said in done.err and not out.exists(), (
        done.err
    )


def test_the_authors_pickle(built: Path, tmp_path: Path, emq: Emq) -> None:
    rows = {i: {"bit_cfg": str((2, 3, 4, 2 + i)), "acc": 60.0 + i} for i in range(3)} | {
        3: {"bit_cfg": [4, 4, 4, 4], "acc": 71}
    }
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        source, out = tmp_path / f"{protocol}.pkl", tmp_path / f"{protocol}.table"
        source.write_bytes(pickle.dumps(rows, protocol))
        done = emq(
            "bench",
            "import",
            str(source),
            "--model",
            f"{built.parent / 'small.py'}:network",
            "--out",
            str(out),
        )
        assert done.status == 0, done.err
        table = load(str(out))
        assert (
            table.accuracy.tolist() == pytest.approx([0.6, 0.61, 0.62, 0.71])
            and table.right is None
        )
        assert table.bits[1].tolist() == [2, 3, 4, 3]


class Evil:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (Path("evil"),))


def test_a_pickle_with_code_is_refused_and_not_run(
    built: Path, tmp_path: Path, emq: Emq, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "rows.pkl").write_bytes(
            pickle.dumps({0: {"bit_cfg": "(2,)", "acc": Evil()}}, protocol)
        )
        done = emq(
            "bench",
            "import",
            "rows.pkl",
            "--model",
            f"{built.parent / 'small.py'}:network",
            "--out",
            "a.table",
        )
        assert (
            done.status == 3
            and "more than a value" in done.err
            and not (tmp_path / "evil").exists()
        )


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.tuples(inner)
        | st.dictionaries(st.text() | st.integers(), inner)
    ),
    max_leaves=12,
)


@given(plain, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_are_what_pickle_says(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    assert plain_value(data) == value and plain_value(pickletools.optimize(data)) == value


def test_a_damaged_pickle_takes_no_memory() -> None:
    with pytest.raises(ValueError, match="damaged"):
        plain_value(b"Nr\xff\xff\xff\x7f.")  # None, kept as number 2 ** 31 of a memo


@given(st.binary(max_size=60))
def test_noise_is_a_value_error_or_a_value(data: bytes) -> None:
    try:
        plain_value(data)
    except ValueError:
        return
