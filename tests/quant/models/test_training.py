"""Training of the shipped networks: an interrupted run, augmentation, and the files it reads."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from emqlang.grammar.diagnostics import EmqError
from emqlang.quant.data.fashion_mnist import FashionMnist, read_fashion_mnist
from emqlang.quant.models.training import Schedule, augment, main, train, write_images

NAME = "mobilenetv2-fmnist"  # its dropout draws random numbers too


@pytest.fixture(scope="module")
def data() -> FashionMnist:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1100, 28, 28), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 10, (1100,), generator=generator, dtype=torch.uint8)
    return FashionMnist(images, labels, images[:50], labels[:50], "0" * 64)


@pytest.fixture(scope="module")
def few(data: FashionMnist) -> FashionMnist:
    return replace(data, train_images=data.train_images[:70], train_labels=data.train_labels[:70])


def test_an_interrupted_run_ends_in_the_same_weights(few: FashionMnist, tmp_path: Path) -> None:
    schedule = Schedule(epochs=2, batch=16)
    whole = train(NAME, few, schedule, 5, tmp_path / "whole")
    train(NAME, few, schedule, 5, tmp_path / "cut", stop_after=1)
    torch.rand(3)
    resumed = train(NAME, few, schedule, 5, tmp_path / "cut")
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


def test_a_checkpoint_of_another_job_and_a_damaged_one_are_refused(
    few: FashionMnist, tmp_path: Path
) -> None:
    schedule = Schedule(epochs=2, batch=35)
    train(NAME, few, schedule, 0, tmp_path, stop_after=1)
    with pytest.raises(EmqError, match="another job"):
        train(NAME, few, schedule, 1, tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(b"\0" * 100)
    with pytest.raises(EmqError, match="reading the checkpoint failed"):
        train(NAME, few, schedule, 0, tmp_path)


def test_augmentation_shifts_and_mirrors_and_nothing_else() -> None:
    image = torch.zeros(28, 28, dtype=torch.uint8)
    image[10, 5] = 200
    moved = augment(image.expand(400, 28, 28), 2, torch.Generator().manual_seed(0))
    assert moved.eq(200).sum((1, 2)).tolist() == [1] * 400
    rows, columns = moved.eq(200).nonzero()[:, 1:].T.tolist()
    assert set(rows) == {8, 9, 10, 11, 12}
    assert set(columns) == {3, 4, 5, 6, 7, 20, 21, 22, 23, 24}
    assert 150 < sum(column < 14 for column in columns) < 250


def test_the_rate_rises_and_falls_to_zero() -> None:
    schedule = Schedule(epochs=1, rate=0.2, warmup=0.25)
    rates = [schedule.rate_at(i / 100) for i in range(101)]
    assert rates[0] == 0
    assert max(rates) == rates[25] == 0.2
    assert rates[25:] == sorted(rates[25:], reverse=True)
    assert rates[100] == pytest.approx(0, abs=1e-12)


def test_shipped_images_are_the_same_for_every_network(data: FashionMnist, tmp_path: Path) -> None:
    write_images(data, tmp_path / "images.safetensors")
    first = (tmp_path / "images.safetensors").read_bytes()
    write_images(data, tmp_path / "images.safetensors")
    assert (tmp_path / "images.safetensors").read_bytes() == first
    with safe_open(tmp_path / "images.safetensors", framework="pt") as file:
        assert file.get_tensor("calibration_images").shape == (1024, 28, 28)
        assert torch.equal(file.get_tensor("test_labels"), data.test_labels)


def test_missing_and_damaged_files_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(EmqError, match="cannot read this file"):
        read_fashion_mnist(tmp_path)
    for stem in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / f"{stem}-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x03" + b"\0" * 50))
    with pytest.raises(EmqError, match="not an idx file of 60000x28x28 bytes"):
        read_fashion_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(SystemExit) as ended:
        main([NAME, "--out", str(tmp_path), "--data", str(tmp_path)])
    assert ended.value.code == 3
    assert "error[E301]" in capsys.readouterr().err
