"""The cache of statistics: found again, believed only if intact, and never the wrong one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import Emq
from measured import collect, labelled, small
from safetensors.torch import save_file
from torch import Tensor

from emqlang.quant.network import Network, prepare
from emqlang.quant.quantizer import WeightQuantizer
from emqlang.quant.statistics import cache as caches
from emqlang.quant.statistics.cache import Cache
from emqlang.quant.statistics.table import Measured

SHAPE = (2, 5, 5)
Subject = tuple[Network, Tensor, Tensor]


@pytest.fixture
def subject() -> Subject:
    return labelled(small(), SHAPE)


def files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.safetensors"))


def test_what_was_collected_is_found_again(subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = collect(subject[0], ["fisher", "numel"], *subject[1:], cache=tmp_path)
    assert [path.name.split("-")[0] for path in files(tmp_path)] == ["fisher"], "what is free is not kept"
    monkeypatch.setattr("emqlang.quant.statistics._visit", None)  # nothing is measured again
    again = collect(subject[0], ["fisher", "numel"], *subject[1:], cache=tmp_path)
    assert torch.equal(first.array("fisher"), again.array("fisher")) and first.fingerprint == again.fingerprint


def changed(subject: Subject, what: str) -> tuple[Network, Tensor, Tensor, dict[str, object]]:
    network, values, labels = subject
    if what == "weights":
        net = small()
        with torch.no_grad():
            net.head.weight[0, 0] += 1e-3  # type: ignore[union-attr,operator,index]
        return prepare(net, values[:1]), values, labels, {}
    if what == "images":
        return network, values + 1e-3, labels, {}
    if what == "labels":
        return network, values, (labels + 1) % 3, {}
    return (
        network,
        values,
        labels,
        {
            "loss": {"loss": "self"},
            "probes": {"hessian_samples": 5},
            "seed": {"seed": 1},
            "quantizer": {"quantizer": WeightQuantizer("minmax")},
            "menu": {"bits": "2,3"},
        }[what],
    )  # type: ignore[return-value]


@pytest.mark.parametrize("what", ["weights", "images", "labels", "loss", "probes", "seed", "quantizer", "menu"])
def test_whatever_a_value_depends_on_is_in_its_key(subject: Subject, what: str, tmp_path: Path) -> None:
    names = ["hess", "qerr", "grad"]
    base = collect(subject[0], names, *subject[1:], cache=tmp_path, hessian_samples=3)
    network, values, labels, settings = changed(subject, what)
    other = collect(network, names, values, labels, cache=tmp_path, **{"hessian_samples": 3, **settings})
    fresh = collect(network, names, values, labels, **{"hessian_samples": 3, **settings})
    assert other.fingerprint == fresh.fingerprint != base.fingerprint
    assert all(torch.equal(other.array(name), fresh.array(name)) for name in names)


def test_the_version_is_in_the_key(subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    collect(subject[0], ["grad"], *subject[1:], cache=tmp_path)
    monkeypatch.setattr("emqlang.quant.statistics.fingerprint.version", lambda name: "99")
    collect(subject[0], ["grad"], *subject[1:], cache=tmp_path)
    assert len(files(tmp_path)) == 2


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign", "another"])
def test_a_damaged_file_is_reported_and_made_again(subject: Subject, damage: str, tmp_path: Path) -> None:
    first = collect(subject[0], ["grad"], *subject[1:], cache=tmp_path)
    (path,) = files(tmp_path)
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[:-7])
    elif damage == "flipped":
        content[-5] ^= 16
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "foreign":
        save_file({"values": torch.zeros(3)}, path)
    else:
        store = Cache(tmp_path, "other")
        store.store("grad", "key", Measured(torch.zeros(84)))
        store._path("grad", "key").replace(path)
    again = collect(subject[0], ["grad"], *subject[1:], cache=tmp_path)
    assert [warning.code for warning in again.warnings] == ["W604"]
    assert torch.equal(first.array("grad"), again.array("grad"))
    assert not collect(subject[0], ["grad"], *subject[1:], cache=tmp_path).warnings, "it was made again"


def test_what_is_not_finite_is_not_kept(tmp_path: Path) -> None:
    store = Cache(tmp_path, "net")
    store.store("grad", "key", Measured(torch.tensor([1.0, float("inf")])))
    assert not files(tmp_path)


def test_a_cache_that_cannot_be_written_is_no_obstacle(subject: Subject, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    found = collect(subject[0], ["grad"], *subject[1:], cache=blocked)
    assert {warning.code for warning in found.warnings} == {"W609"} and found.array("grad").any()


def test_the_command_shows_and_clears(emq: Emq) -> None:
    emq("eval", "mean(grad)", "--stat-images", "4")
    assert caches.info().files > 0
    assert json.loads(emq("cache", "info", "--json").out)["files"] == caches.info().files
    assert emq("cache", "clear").status == 0 and caches.info().files == 0


def test_networks_do_not_share(subject: Subject, tmp_path: Path) -> None:
    network, values, labels = subject
    collect(network, ["grad"], values, labels, cache=tmp_path)
    renamed = replace(network, weights_sha256="0" * 64)
    collect(renamed, ["grad"], values, labels, cache=tmp_path)
    assert len({path.parent for path in files(tmp_path)}) == 2
