"""The library as one reads it: a list, and each proxy whole."""

from __future__ import annotations

import json

import pytest
from commands import Emq

from emqlang.grammar.library import LIBRARY, RECOMMENDED


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_every_proxy_is_listed_at_any_width(
    emq: Emq, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = emq("library").out.splitlines()
    firsts = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert set(LIBRARY) <= set(firsts)
    assert max(map(len, lines)) <= columns
    marked = {
        line.split()[0] for line in lines if line[:1].isalpha() and line.split()[1:2] == ["*"]
    }
    assert marked == set(RECOMMENDED.values())


def test_records_are_whole(emq: Emq) -> None:
    proxies = {one["name"]: one for one in json.loads(emq("library", "--json").out)["proxies"]}
    assert list(proxies) == list(LIBRARY)
    assert all(one["description"] and one["cost"] and one["text"] for one in proxies.values())
    assert proxies["hawq_v2"]["separable"] and not proxies["fisher_length"]["separable"]
    assert proxies["length_spread"]["made_for"]["images"] == 1024
    assert proxies["length_spread"]["cost"] == "N forwards"


def test_one_is_explained(emq: Emq, monkeypatch: pytest.MonkeyPatch) -> None:
    out = emq("explain", "fisher_length").out
    assert "-mean(sqrt(" in out and "N backwards" in out and "256 images" in out
    assert "where no proxy is named" in out and "no: it sees layers meet" in out
    assert "BRECQ" in emq("explain", "fisher_whole").out
    done = emq("explain", "fisher_lenght")
    assert done.status == 1 and "did you mean 'fisher_length'?" in done.err
