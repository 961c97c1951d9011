"""Tables out and in: CSV, Parquet, and the authors' pickle, of which no code is run."""

from __future__ import annotations

import pickle
import pickletools
import random
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
    import_ = ("bench", "import", str(csv), "--model", f"{built.parent / 'small.py'}:network")
    whole = back.read_bytes()
    assert emq(*import_, "--out", str(back)).status == 0, "the same rows are there"
    assert back.read_bytes() == whole
    csv.write_text("\n".join(csv.read_text().splitlines()[:-1]))
    again = emq(*import_, "--out", str(back))
    assert again.status == 3 and "E315" in again.err and "--force" in again.err
    assert back.read_bytes() == whole
    assert emq(*import_, "--out", str(back), "--force").status == 0
    assert len(load(str(back))) == len(one) - 1


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


ROW = {"bit_cfg": "(4, 4, 4, 4)", "acc": 61.0}
PICKLES: tuple[Any, ...] = (
    *({0: ROW | {"acc": acc}} for acc in (500, -3, float("inf"), float("nan"), True, 10**400)),
    *({0: ROW | {"acc": acc}} for acc in ("61", None, [61])),
    *(
        {0: ROW | {"bit_cfg": bits}}
        for bits in (
            "-" * 100_000 + "1",
            "(" + "-" * 3000 + "1,)",
            "[" * 50_000,
            "4" * 5000,
            (10**5000, 2, 2, 2),
            (4.0, 4, 4, 4),
            (True, 4, 4, 4),
            "(-4, 4, 4, 4)",
            "(4, 4)",
            "/etc/hostname",
            None,
        )
    ),
    {},
    [],
    {0: ROW, 1: ROW},
    {0: None},
)
MARKS = ("2:wA==", "4:8A==")  # all right
LINES = (
    "config,accuracy",
    "config,accuracy,loss\n4,0.5,inf",
    "config,accuracy,loss\n4,0.5,-1",
    "config,accuracy,loss\n4,0.5,nan",
    "config,accuracy,agreement\n4,0.5,1.5",
    "config,accuracy,accuracy\n4,0.5,0.6",
    "config,accuracy\n4,inf",
    "config,accuracy\n4,nan",
    "config,accuracy\n4,1.5",
    "config,accuracy\n" + "[" * 50_000 + ",0.5",
    "config,accuracy\n" + "4" * 5000 + ",0.5",
    "config,accuracy\n" + "4" * 200_000 + ",0.5",
    "config,accuracy\n/etc/hostname,0.5",
    "config,accuracy\nbits.json,0.5",
    f"config,accuracy,marks\n2,1,{MARKS[0]}\n4,1,{MARKS[1]}",
    "config,accuracy,marks\n2,1," + "9" * 5000 + ":wA==",
    "config,accuracy\n\0,0.5",
    "",
)


@pytest.fixture
def importing(built: Path, tmp_path: Path, emq: Emq) -> Callable[[str, bytes], tuple[int, str]]:
    """Imports a file's content, by its suffix; nothing may be left of what is refused."""
    out, model = tmp_path / "out.table", f"{built.parent / 'small.py'}:network"

    def run_import(suffix: str, content: bytes) -> tuple[int, str]:
        source = tmp_path / f"rows{suffix}"
        source.write_bytes(content)
        done = emq("bench", "import", str(source), "--model", model, "--out", str(out))
        assert out.exists() == (done.status == 0)
        assert {path.name for path in tmp_path.iterdir()} <= {source.name, out.name}
        if done.status == 0:
            table = load(str(out))
            assert ((table.accuracy >= 0) & (table.accuracy <= 1)).all()
            out.unlink()
        source.unlink()
        return done.status, done.err

    return run_import


Importing = Callable[[str, bytes], tuple[int, str]]


@pytest.mark.parametrize("value", PICKLES, ids=range(len(PICKLES)))
def test_pickles_of_wrong_rows_are_refused(importing: Importing, value: Any) -> None:
    status, said = importing(".pkl", pickle.dumps(value))
    assert status == 3 and "E314" in said, said


@pytest.mark.parametrize("text", LINES, ids=range(len(LINES)))
def test_csv_files_of_wrong_rows_are_refused(importing: Importing, text: str) -> None:
    status, said = importing(".csv", text.encode())
    assert status == 3 and "E314" in said, said


def test_edited_files_are_tables_or_refused(importing: Importing) -> None:
    """Bytes of good files changed, removed and doubled, by a fixed seed."""
    good = {
        ".csv": b'config,accuracy,loss,marks\n4,1,0.5,2:wA==\n"2,4,4,4",0.5,,2:gA==\n',
        ".pkl": pickle.dumps({0: ROW, 1: {"bit_cfg": [2, 4, 4, 4], "acc": 50}}),
    }
    generator = random.Random(0)
    for suffix, content in good.items():
        assert importing(suffix, content)[0] == 0
        for _ in range(100):
            edited = bytearray(content)
            for _ in range(generator.randint(1, 3)):
                place = generator.randrange(len(edited))
                edited[place : place + generator.randint(0, 2)] = generator.choice(
                    (b"", bytes([generator.randrange(256)]), b"9", b",", b"-", bytes(edited[:9]))
                )
            status, said = importing(suffix, bytes(edited))
            assert status in (0, 2, 3) and "internal error" not in said, bytes(edited)


@pytest.mark.parametrize("data", [b"K\x01K\x02a.", b"K\x01K\x02K\x03s.", b"(((", b""])
def test_pickles_that_do_nothing_sensible_are_refused(importing: Importing, data: bytes) -> None:
    assert importing(".pkl", data)[0] == 3
