"""The cache of statistics: found again, believed only if intact, and never the wrong one."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Emq
from measured import collect, labelled, small
from networks import seeded
from safetensors.torch import save_file
from torch import Tensor, nn

from emqlang.quant.networks.network import Network, prepare
from emqlang.quant.ptq.grids import WeightQuantizer
from emqlang.quant.statistics import cache as caches
from emqlang.quant.statistics import fingerprint
from emqlang.quant.statistics.cache import Cache
from emqlang.quant.statistics.table import Measured

SHAPE = (2, 5, 5)
Subject = tuple[Network, Tensor, Tensor]


@pytest.fixture
def subject() -> Subject:
    return labelled(small(), SHAPE)


def files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.safetensors"))


def test_what_was_collected_is_found_again(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = collect(subject[0], ["fisher", "numel"], *subject[1:], cache=tmp_path)
    assert [path.name.split("-")[0] for path in files(tmp_path)] == ["fisher"], (
        "what is free is not kept"
    )
    monkeypatch.setattr(
        "emqlang.quant.statistics.collect.show_images", None
    )  # nothing is measured again
    again = collect(subject[0], ["fisher", "numel"], *subject[1:], cache=tmp_path)
    assert (
        torch.equal(first.array("fisher"), again.array("fisher"))
        and first.fingerprint == again.fingerprint
    )


def nudged(network: Network) -> Network:
    net = small()
    with torch.no_grad():
        net.get_parameter("head.weight")[0, 0] += 1e-3
    return prepare(net, network.example)


CHANGED: dict[
    str, Callable[[Network, Tensor, Tensor], tuple[Network, Tensor, Tensor, dict[str, Any]]]
] = {
    "weights": lambda network, values, labels: (nudged(network), values, labels, {}),
    "groups": lambda network, values, labels: (
        prepare(small(), values[:1], tied=[("first", "second")]),
        values,
        labels,
        {},
    ),
    "images": lambda network, values, labels: (network, values + 1e-3, labels, {}),
    "labels": lambda network, values, labels: (network, values, (labels + 1) % 3, {}),
    "loss": lambda *subject: (*subject, {"loss": "self"}),
    "label draws": lambda *subject: (*subject, {"label_draws": 2}),
    "probes": lambda *subject: (*subject, {"hessian_samples": 5}),
    "seed": lambda *subject: (*subject, {"seed": 1}),
    "quantizer": lambda *subject: (*subject, {"quantizer": WeightQuantizer("minmax")}),
    "symmetry": lambda *subject: (*subject, {"quantizer": WeightQuantizer(symmetric=True)}),
    "menu": lambda *subject: (*subject, {"menu": "2,3"}),
    "number of images": lambda *subject: (*subject, {"images": 5}),
}


@pytest.mark.parametrize("what", CHANGED)
def test_whatever_a_value_depends_on_is_in_its_key(
    subject: Subject, what: str, tmp_path: Path
) -> None:
    names = ["hess", "qerr", "grad", "shift"]
    base = collect(subject[0], names, *subject[1:], cache=tmp_path, hessian_samples=3)
    network, values, labels, settings = CHANGED[what](*subject)
    other = collect(
        network, names, values, labels, cache=tmp_path, **{"hessian_samples": 3, **settings}
    )
    fresh = collect(network, names, values, labels, **{"hessian_samples": 3, **settings})
    assert other.fingerprint == fresh.fingerprint != base.fingerprint
    assert all(torch.equal(other.array(name), fresh.array(name)) for name in names)


@pytest.mark.parametrize("whose", ["__version__", "torch.__version__"])
def test_the_version_is_in_the_key(
    subject: Subject, whose: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collect(subject[0], ["grad"], *subject[1:], cache=tmp_path)
    monkeypatch.setattr(f"emqlang.quant.statistics.fingerprint.{whose}", "99")
    collect(subject[0], ["grad"], *subject[1:], cache=tmp_path)
    assert len(files(tmp_path)) == 2


def test_what_a_value_does_not_depend_on_is_not_in_its_key(
    subject: Subject, tmp_path: Path
) -> None:
    network, values, labels = subject
    for menu in ("W2A4,W4A8", "W2A2,W4A2"):
        collect(network, ["qerr", "act_qerr"], values, labels, menu, cache=tmp_path)
    assert [path.name.split("-")[0] for path in files(tmp_path)] == ["act_qerr", "act_qerr", "qerr"]


class Scaled(nn.Module):
    """Computes with things that no state dict holds. (N, 3, 5, 5)"""

    def __init__(self, attribute: float = 1.0, buffer: float = 1.0, tensor: float = 1.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.attribute, self.tensor = attribute, torch.tensor(tensor)
        self.register_buffer("buffer", torch.tensor(buffer), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.conv(x).mean((2, 3)) * self.attribute * self.buffer * self.tensor
        return logits


def doubled(model: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = model(2 * images)
    return logits


def test_networks_of_equal_weights_that_compute_otherwise_do_not_share() -> None:
    example = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    nets = [
        seeded(Scaled, *scales)
        for scales in ((1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (1.0, 3.0, 1.0), (1.0, 1.0, 4.0))
    ]
    networks = [
        *(prepare(net, example) for net in nets),
        prepare(nets[0], example, forward=doubled),
    ]
    assert len({network.weights_sha256 for network in networks}) == 1
    assert len({fingerprint.of_network(network) for network in networks[:-1]}) == 4
    assert fingerprint.of_network(networks[-1]) != fingerprint.of_network(networks[0])
    assert fingerprint.of_network(networks[0]) == fingerprint.of_network(
        prepare(seeded(Scaled), example)
    )


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign", "another"])
def test_a_damaged_file_is_reported_and_made_again(
    subject: Subject, damage: str, tmp_path: Path
) -> None:
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
    assert not collect(subject[0], ["grad"], *subject[1:], cache=tmp_path).warnings, (
        "it was made again"
    )


def test_whatever_bit_is_flipped_is_noticed(tmp_path: Path) -> None:
    """Every byte of a file in turn: what is loaded is what was stored, or nothing."""
    kept = Measured(torch.arange(5.0), torch.tensor([0.5]))
    Cache(tmp_path, "net").store("grad", "key", kept)
    (path,) = files(tmp_path)
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        store = Cache(tmp_path, "net")
        found = store.load("grad", "key")
        assert [warning.code for warning in store.warnings] == ([] if found else ["W604"])
        assert found is None or (torch.equal(found.values, kept.values) and found.error is not None)


def test_a_damaged_file_is_set_aside_and_its_removal_may_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Cache(tmp_path, "net")
    for content in (b"first", b"second"):
        store._path("grad", "key").parent.mkdir(parents=True, exist_ok=True)
        store._path("grad", "key").write_bytes(content)
        assert store.load("grad", "key") is None
    assert [path.read_bytes() for path in tmp_path.rglob("*.damaged")] == [b"second"] and not files(
        tmp_path
    )
    store._path("grad", "key").write_bytes(b"third")
    monkeypatch.setattr(Path, "replace", denied)
    assert store.load("grad", "key") is None
    assert [warning.code for warning in store.warnings] == ["W604", "W604", "W604", "W609"]


def denied(*args: object) -> bool:
    raise PermissionError(13, "Permission denied")


def test_a_cache_that_cannot_be_read_is_no_obstacle(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_file", denied)
    found = collect(subject[0], ["grad"], *subject[1:], cache=tmp_path)
    assert {warning.code for warning in found.warnings} == {"W604", "W609"} and found.array(
        "grad"
    ).any()


def test_standard_errors_are_kept(subject: Subject, tmp_path: Path) -> None:
    first, again = (
        collect(subject[0], ["hess_trace"], *subject[1:], cache=tmp_path) for _ in range(2)
    )
    assert torch.equal(first.errors["hess_trace"], again.errors["hess_trace"])


def test_with_a_loss_of_the_users_own_nothing_is_kept(subject: Subject, tmp_path: Path) -> None:
    collect(
        subject[0],
        ["grad", "x2"],
        *subject[1:],
        cache=tmp_path,
        loss=lambda scores, batch: scores.square().mean(),
    )
    assert not files(tmp_path)


def test_many_may_write_and_read_at_once(tmp_path: Path) -> None:
    """All of them the same file: nobody reads half of it, and nobody gets an error."""
    kept = Measured(torch.randn(20_000))

    def work(turn: int) -> tuple[bool, list[str]]:
        store = Cache(tmp_path, "net")
        store.store("grad", "key", kept)
        found = store.load("grad", "key")
        return found is not None and torch.equal(found.values, kept.values), [
            warning.code for warning in store.warnings
        ]

    with ThreadPoolExecutor(8) as pool:
        assert set(map(repr, pool.map(work, range(64)))) == {"(True, [])"}
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["grad-key.safetensors"]


def test_a_writer_that_was_killed_leaves_nothing_that_is_read(tmp_path: Path) -> None:
    store = Cache(tmp_path, "net")
    path = store._path("grad", "key")
    path.parent.mkdir(parents=True)
    path.with_name(f".{path.name}.1234").write_bytes(b"half a fi")
    assert store.load("grad", "key") is None and not store.warnings
    assert (
        caches.info(tmp_path).files == 1 == caches.clear(tmp_path).files
        and caches.info(tmp_path).files == 0
    )


def test_a_file_that_vanishes_while_it_is_counted_or_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Cache(tmp_path, "net")
    store.store("grad", "key", Measured(torch.zeros(3)))
    monkeypatch.setattr("emqlang.quant.statistics.cache.read", missing)
    monkeypatch.setattr(Path, "stat", missing)
    assert caches.info(tmp_path).files == 0
    monkeypatch.setattr(Path, "is_file", lambda path: True)
    assert store.load("grad", "key") is None and not store.warnings


def missing(*args: object, **kwargs: object) -> Any:
    raise FileNotFoundError(2, "No such file or directory")


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
    number = caches.info().files
    assert number == len(["grad", "bits", "record"])
    shown = emq("cache", "info")
    assert shown.status == 0 and str(caches.info().directory) in "".join(shown.out.split()), (
        "long paths are wrapped"
    )
    counts = json.loads(emq("cache", "info", "--json").out)
    assert (counts["files"], counts["bytes"], counts["cleared"]) == (
        number,
        caches.info().bytes,
        False,
    )
    cleared = json.loads(emq("cache", "clear", "--json").out)
    assert (cleared["files"], cleared["cleared"]) == (number, True) and caches.info().files == 0
    assert emq("cache", "clear").status == 0, "an empty cache may be cleared too"


def test_a_cache_that_cannot_be_cleared_is_3(emq: Emq, monkeypatch: pytest.MonkeyPatch) -> None:
    Cache(caches.default_root(), "net").store("grad", "key", Measured(torch.zeros(3)))
    monkeypatch.setattr("shutil.rmtree", denied)
    result = emq("cache", "clear")
    assert result.status == 3 and "E301" in result.err and "Permission denied" in result.err


def test_a_damaged_file_is_reported_on_stderr(emq: Emq) -> None:
    first = emq("eval", "mean(grad)", "--stat-images", "4", "--csv")
    (path,) = caches.default_root().rglob("grad-*")
    path.write_bytes(path.read_bytes()[:-9])
    again = emq("eval", "mean(grad)", "--stat-images", "4", "--csv")
    assert again.status == 0 and again.out == first.out
    assert "W604" in again.err and "W604" not in first.err


def test_networks_do_not_share(subject: Subject, tmp_path: Path) -> None:
    network, values, labels = subject
    collect(network, ["grad"], values, labels, cache=tmp_path)
    renamed = replace(network, weights_sha256="0" * 64)
    collect(renamed, ["grad"], values, labels, cache=tmp_path)
    assert len({path.parent for path in files(tmp_path)}) == 2
