"""Trains the shipped Fashion-MNIST networks.

    python -m emqlang.quant.models.training NAME --out DIR --epochs N --seed S

A checkpoint is written after every epoch, and a run that was killed continues from it to the same
weights, bit for bit (on the same machine and number of threads): everything random in an epoch
comes from (seed, epoch) alone.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from emqlang.grammar.diagnostics import EmqError, error
from emqlang.quant.data.fashion_mnist import DEBIAN_DIR, FashionMnist, read_fashion_mnist
from emqlang.quant.data.images import FASHION_MNIST
from emqlang.quant.models import MODELS
from emqlang.quant.qat.schedule import cosine
from emqlang.quant.user_code import foreign
from emqlang.store import write_atomically

log = logging.getLogger(__name__)

COMMAND: Final = "python -m emqlang.quant.models.training"
CALIBRATION_IMAGES: Final = 1024
MEMORY_FORMAT: Final = torch.channels_last  # a third faster on a CPU


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a network is trained: SGD with Nesterov momentum, or AdamW.

    The rate rises linearly over the first `warmup` of all steps, then falls as a cosine to 0.
    """

    epochs: int
    optimizer: str = "sgd"
    batch: int = 128
    rate: float = 0.1
    warmup: float = 0.15
    momentum: float = 0.9
    decay: float = 5e-4
    smoothing: float = 0.0
    shift: int = 2  # pixels of random translation, each way

    def rate_at(self, progress: float) -> float:
        """Learning rate at a share of all steps."""
        return cosine(self.rate, progress, self.warmup)

    def optimizer_of(self, net: nn.Module) -> torch.optim.Optimizer:
        """A fresh one of the network's parameters."""
        if self.optimizer == "adamw":
            return torch.optim.AdamW(net.parameters(), lr=self.rate, weight_decay=self.decay)
        return torch.optim.SGD(
            net.parameters(),
            lr=self.rate,
            momentum=self.momentum,
            weight_decay=self.decay,
            nesterov=True,
        )


# Where a network is not trained by SGD as the others are.
SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "vit-fmnist": {"optimizer": "adamw", "rate": 1.5e-3, "decay": 0.05, "shift": 1}
}


def augment(images: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """Images (N, H, W), shifted by up to `shift` pixels each way and mirrored half of the time."""
    count, height, width = images.shape
    padded = nn.functional.pad(images, [shift] * 4)
    top, left = torch.randint(0, 2 * shift + 1, (2, count, 1), generator=generator)
    mirrored = torch.rand(count, 1, generator=generator) < 0.5
    across = torch.arange(width).expand(count, width)
    rows = top + torch.arange(height)
    columns = left + torch.where(mirrored, across.flip(1), across)
    return padded[torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def train(
    name: str,
    data: FashionMnist,
    schedule: Schedule,
    seed: int,
    run: Path,
    stop_after: int | None = None,
) -> nn.Module:
    """The trained network in eval mode; its checkpoint is kept in `run`.

    `stop_after` ends early after that epoch.
    """
    spec = MODELS[name]
    net: nn.Module = spec.build(seed).to(memory_format=MEMORY_FORMAT)  # type: ignore[call-overload]
    optimizer = schedule.optimizer_of(net)
    job = {"network": name, "seed": seed, "data": data.sha256, **asdict(schedule)}
    path = run / "checkpoint.pt"
    first = _resume(path, job, net, optimizer)
    for epoch in range(first, min(schedule.epochs, stop_after or schedule.epochs)):
        loss = _train_epoch(net, optimizer, data, schedule, seed, epoch)
        state = {
            "job": job,
            "epoch": epoch + 1,
            "net": net.state_dict(),
            "optimizer": optimizer.state_dict(),
        }
        write_atomically(path, partial(torch.save, state))
        log.info("%s epoch %d/%d: training loss %.4f", name, epoch + 1, schedule.epochs, loss)
    return net.eval()


def _resume(
    path: Path, job: dict[str, Any], net: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    """Load the checkpoint, if there is one; returns the number of finished epochs."""
    if not path.exists():
        return 0
    with foreign("E301", "reading the checkpoint", str(path)):
        state = torch.load(path, weights_only=True)
    if state["job"] != job:
        help = "give another --run folder, or remove it"
        raise error("E301", "this checkpoint belongs to another job", help, path=str(path))
    net.load_state_dict(state["net"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["epoch"])


def _train_epoch(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: FashionMnist,
    schedule: Schedule,
    seed: int,
    epoch: int,
) -> float:
    """One pass over the shuffled, augmented training images; returns the mean loss."""
    net.train()
    generator = torch.Generator().manual_seed(seed * 10_000 + epoch)
    order = torch.randperm(len(data.train_images), generator=generator)
    batches = torch.split(order, schedule.batch)
    total = 0.0
    with torch.random.fork_rng(devices=[]):  # dropout draws from torch's global generator
        torch.manual_seed(seed * 10_000 + epoch)
        for i, rows in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate_at((epoch + i / len(batches)) / schedule.epochs)
            images = _prepare(augment(data.train_images[rows], schedule.shift, generator))
            labels = data.train_labels[rows].long()
            loss = cross_entropy(net(images), labels, label_smoothing=schedule.smoothing)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item() * len(rows)
    return total / len(data.train_images)


def _prepare(images: Tensor) -> Tensor:
    return FASHION_MNIST.normalise(images[:, None]).contiguous(memory_format=MEMORY_FORMAT)


@torch.inference_mode()
def accuracy(net: nn.Module, images: Tensor, labels: Tensor, batch: int = 250) -> float:
    """Share of the uint8 (N, 28, 28) images whose largest logit is the label's."""
    pairs = zip(torch.split(images, batch), torch.split(labels, batch), strict=True)
    hits = sum(int((net(_prepare(x)).argmax(1) == y).sum()) for x, y in pairs)
    return hits / len(images)


def write_images(data: FashionMnist, path: Path) -> None:
    """The shipped images: CALIBRATION_IMAGES of the training set, and the whole test set."""
    order = torch.randperm(len(data.train_images), generator=torch.Generator().manual_seed(0))
    rows = order[:CALIBRATION_IMAGES]
    tensors = {
        "calibration_images": data.train_images[rows],
        "calibration_labels": data.train_labels[rows],
        "test_images": data.test_images,
        "test_labels": data.test_labels,
    }
    facts = {
        "source": "https://github.com/zalandoresearch/fashion-mnist",
        "licence": "MIT",
        "data_sha256": data.sha256,
    }
    _write_tensors(path, tensors, facts)


def _write_tensors(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Safetensors with the facts as one entry of metadata: several would have no fixed order."""
    whole = {name: value.contiguous() for name, value in tensors.items()}
    write_atomically(path, lambda file: save_file(whole, file, {"emqlang": json.dumps(facts)}))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description="Trains a shipped network.")
    add = parser.add_argument
    add("name", choices=[name for name, spec in MODELS.items() if spec.embedded])
    add("--out", type=Path, required=True, help="folder for the weights and the shipped images")
    add("--run", type=Path, help="folder of the checkpoint (default: runs/NAME)")
    add("--data", type=Path, default=DEBIAN_DIR, help="folder of Fashion-MNIST's four .gz files")
    add("--epochs", type=int, default=20)
    add("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        _train_and_ship(options)
    except EmqError as failure:
        parser.exit(failure.exit_status, f"{failure}\n")


def _train_and_ship(options: argparse.Namespace) -> None:
    name, epochs, seed = options.name, options.epochs, options.seed
    data = read_fashion_mnist(options.data)
    schedule = Schedule(epochs, **SETTINGS.get(name, {}))
    net = train(name, data, schedule, seed, options.run or Path("runs") / name)
    share = accuracy(net, data.test_images, data.test_labels)
    facts = {
        "command": f"{COMMAND} {name} --epochs {epochs} --seed {seed}",
        "seed": seed,
        "epochs": epochs,
        "test_accuracy": share,
        "torch": torch.__version__,
        "data_sha256": data.sha256,
    }
    _write_tensors(options.out / MODELS[name].embedded, net.state_dict(), facts)
    write_images(data, options.out / "fashion-mnist.safetensors")
    log.info("%s: %.2f %% of the test images", name, 100 * share)


if __name__ == "__main__":
    main()
