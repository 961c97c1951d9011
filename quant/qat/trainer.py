"""Training a quantized network: epochs, the choice of the best one, and going on where it stopped.

Whatever is random in an epoch comes from the seed and the epoch alone, so that a run that was
killed ends where it would have ended, bit for bit, on the same machine and number of threads.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import isfinite
from statistics import fmean
from typing import Any, Final, Protocol

import torch
from msgspec import UNSET
from msgspec.structs import replace
from torch import Tensor, nn

from emqlang.grammar.diagnostics import Diagnostic, EmqError, error
from emqlang.quant.networks.batches import backward, rows, run
from emqlang.quant.networks.nested import mapped, tensors
from emqlang.quant.networks.network import Network
from emqlang.quant.networks.plain import copied
from emqlang.quant.progress import Progress, silent
from emqlang.quant.ptq.quantized import Quantized
from emqlang.quant.ptq.recipe import Training
from emqlang.quant.qat.course import Course, Score
from emqlang.quant.qat.fake_quantized import FakeQuantized
from emqlang.quant.qat.objective import Objective
from emqlang.quant.qat.schedule import Settings
from emqlang.quant.qat.split import Split

SAVE_EVERY: Final = 60.0  # seconds that a kill may lose
RECENT: Final = 20  # steps whose mean loss tells whether training diverges
FAR: Final = (4.0, 0.5)  # times the loss that it began with, and more: then it does
MOVED: Final = 0.05  # of the outputs, from which on folding batch norms is warned of
NORM_IMAGES: Final = 1024  # that batch norms which are put back are measured on


class Checkpoints(Protocol):
    """Where an interrupted run is kept."""

    def load(self) -> tuple[Mapping[str, Tensor], Course] | None: ...
    def save(self, state: Mapping[str, Tensor], course: Course) -> None: ...


class Forgotten:
    """Nothing is kept."""

    def load(self) -> None: ...
    def save(self, state: Mapping[str, Tensor], course: Course) -> None: ...


@dataclass(frozen=True, eq=False)
class Trained:
    """A network after training.

    quantized  as it was after the best epoch
    folding    the relative difference that folding batch norms made to the outputs; None if none
               were trained
    """

    quantized: Quantized
    course: Course
    split: Split
    folding: float | None

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """W620 where folding changed the network."""
        if self.folding is None or self.folding <= MOVED:
            return ()
        message = f"folding the batch norms moved the outputs by {self.folding:.1%}"
        help = (
            "what is reported and written is the folded network",
            "--bn freeze folds them first",
        )
        return (Diagnostic("W620", message, help=help),)


class Trainer:
    """One quantized network, trained once."""

    def __init__(
        self,
        network: Network,
        quantized: Quantized,
        split: Split,
        objective: Objective,
        settings: Settings,
        *,
        device: str = "cpu",
        kept: Checkpoints | None = None,
        progress: Progress = silent,
    ) -> None:
        self.network, self.split, self.objective = network, split, objective
        self.settings, self.kept, self.progress = settings, kept or Forgotten(), progress
        self.device = torch.device(device)
        self.student = FakeQuantized(network, quantized, self.device)
        if settings.norms == "train":
            self.student.train_norms(self._few())
        self.teacher = copied(network.module).requires_grad_(False).to(self.device)
        self.parameters = self.student.parameters()
        self.optimizer = _optimizer(self.parameters, settings)
        self.best: dict[str, Tensor] = {}
        self.course = Course()

    def run(self) -> Trained:
        """Train, and return the best epoch's network. Raises E320 where training diverges."""
        with _repeatable():
            if not self._resume():
                self.course.validation.append(self._score())
                self.best = self._copy()
            while self.course.epoch < self.settings.epochs:
                self._train_epoch()
        self.student.load(self.best)
        return self._finished()

    def _train_epoch(self) -> None:
        course, student = self.course, self.student
        shuffled = self.split.shuffled(self.settings.seed, course.epoch)
        recent, saved, count = deque(course.recent, RECENT), time.perf_counter(), len(shuffled)
        for start, stop, batch in shuffled.chunks(self.settings.batch):
            if start < course.images:
                continue
            loss = self._step(self._here(batch), course.epoch + start / count)
            recent.append(loss)
            course.total += loss * (stop - start)
            course.images, course.recent = stop, list(recent)
            self._check(loss)
            name = f"training epoch {course.epoch + 1}, loss {fmean(recent):.4f}"
            self.progress(name, course.epoch * count + stop, count * self.settings.epochs)
            if time.perf_counter() - saved > SAVE_EVERY:
                self._save()
                saved = time.perf_counter()
        course.losses.append(course.total / count)
        course.epoch, course.images, course.total = course.epoch + 1, 0, 0.0
        before = course.best
        course.validation.append(self._score())
        if course.best != before:
            self.best = self._copy()
        student.training(False)
        self._save()

    def _step(self, batch: Any, epochs: float) -> float:
        """One step of the optimizer; returns the loss before it."""
        settings, student = self.settings, self.student
        for group in self.optimizer.param_groups:
            group["lr"] = settings.rate_at(epochs / settings.epochs)
        student.training(True)
        with torch.enable_grad():
            with self._narrow():
                outputs = student(batch, seed=self.course.epoch)
            loss = self.objective(outputs, batch, self._taught(batch))
            value = float(loss.detach())
            if not loss.requires_grad:
                message = "the loss has no gradient in the network's weights"
                raise error("E308", message, "leave out no_grad and detach")
            self.optimizer.zero_grad()
            if isfinite(value):
                with backward():
                    loss.backward()  # type: ignore[no-untyped-call]
                self.optimizer.step()
                student.keep_positive()
        return value

    @torch.no_grad()
    def _score(self) -> Score:
        """Of the network as it is, on the validation images."""
        self.student.training(False)
        total, hits, labels, images = 0.0, 0, 0, self.split.validation
        for _, done, batch in images.chunks(self.settings.batch):
            batch = self._here(batch)
            outputs = self.student(batch)
            loss = self.objective(outputs, batch, self._taught(batch))
            total += float(loss) * rows(batch)
            right, counted = self.objective.correct(outputs, batch)
            hits, labels = hits + right, labels + counted
            self.progress("validation", done, len(images))
        score = Score(total / len(images), hits / labels if labels else None)
        if not isfinite(score.loss):
            raise self._not_finite()
        return score

    def _check(self, loss: float) -> None:
        """Raises E320 where training diverges."""
        began, recent = self.course.validation[0].loss, self.course.recent
        far = len(recent) == RECENT and fmean(recent) > FAR[0] * abs(began) + FAR[1]
        if isfinite(loss) and not far:
            return
        now = f"the loss is {fmean(recent):.3g}" if isfinite(loss) else f"the loss is {loss}"
        shown = self.course.epoch * len(self.split.training) + self.course.images
        message = f"training diverges: after {shown:,} images {now}, and it began at {began:.3g}"
        raise error("E320", message, f"take a lower rate than {self.settings.rate:g}: --lr")

    def _not_finite(self) -> EmqError:
        if not self.course.validation:
            message = "the loss of the network is not finite before it is trained"
            return error("E312", message, "check the images and labels")
        message = "training diverges: the loss on the validation images is not finite"
        return error("E320", message, f"take a lower rate than {self.settings.rate:g}: --lr")

    def _taught(self, batch: Any) -> Any:
        """What the float network answers, where the objective reads that."""
        if not self.objective.share:
            return None
        with torch.no_grad(), self._narrow():
            return run(self.teacher, batch, self.network.forward)

    def _narrow(self) -> AbstractContextManager[Any]:
        """Automatic mixed precision on a GPU. Quantizers compute in float32 all the same."""
        if self.device.type != "cuda":
            return nullcontext()
        return torch.autocast("cuda", torch.bfloat16)

    def _here(self, batch: Any) -> Any:
        return mapped(lambda leaf: leaf.to(self.device), batch)

    def _few(self) -> Iterator[Any]:
        """Training images in the seed's own order, by which batch norms are measured."""
        for start, _, batch in self.split.shuffled(self.settings.seed, 0).chunks(64):
            if start >= NORM_IMAGES:
                return
            yield self._here(batch)

    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.student.state().items()}

    def _save(self) -> None:
        tensors = {f"now:{name}": tensor for name, tensor in self.student.state().items()}
        tensors |= {f"best:{name}": tensor for name, tensor in self.best.items()}
        for name, parameter in self.parameters.items():
            if (momentum := self.optimizer.state[parameter].get("momentum_buffer")) is not None:
                tensors[f"momentum:{name}"] = momentum
        self.kept.save(tensors, self.course)

    def _resume(self) -> bool:
        """Whether there was a run to go on with."""
        if (found := self.kept.load()) is None:
            return False
        tensors, self.course = found
        tensors = {name: tensor.to(self.device) for name, tensor in tensors.items()}
        self.best = _part(tensors, "best:")
        self.student.load(_part(tensors, "now:"))
        for name, momentum in _part(tensors, "momentum:").items():
            self.optimizer.state[self.parameters[name]]["momentum_buffer"] = momentum
        return True

    def _finished(self) -> Trained:
        settings, course = self.settings, self.course
        record = Training(
            epochs=settings.epochs,
            best=course.best,
            images=len(self.split.training),
            validation=len(self.split.validation),
            rate=settings.rate,
            batch=settings.batch,
            momentum=settings.momentum,
            decay=settings.decay,
            seed=settings.seed,
            distill=settings.distill,
            temperature=settings.temperature,
            norms=settings.norms,
        )
        recipe = self.student.source.recipe
        before = () if recipe.training is UNSET else recipe.training
        quantized = self.student.quantized(replace(recipe, training=(*before, record)))
        return Trained(quantized, course, self.split, self._folding(quantized))

    @torch.no_grad()
    def _folding(self, quantized: Quantized) -> float | None:
        """How far the outputs for some validation images move where batch norms are folded."""
        if not (self.student.norms or self.student.unfolded):
            return None
        _, _, batch = next(self.split.validation.chunks(self.settings.batch))
        with_norms = self.student(self._here(batch))
        folded = run(quantized.module, batch, self.network.forward)
        return relative_difference(folded, mapped(lambda leaf: leaf.cpu(), with_norms))


def relative_difference(outputs: Any, wanted: Any) -> float:
    """The norm of the outputs' difference over that of what is wanted; of several, the largest."""
    pairs = zip(tensors(outputs), tensors(wanted), strict=True)
    ratios = [float((a - b).double().norm() / b.double().norm().clamp(min=1e-30)) for a, b in pairs]
    return max(ratios, default=0.0)


def _optimizer(parameters: Mapping[str, nn.Parameter], settings: Settings) -> torch.optim.SGD:
    """Weights decay; steps, biases and the parameters of norms do not."""
    decays = {name: each.ndim > 1 for name, each in parameters.items()}
    groups = [
        {
            "params": [each for name, each in parameters.items() if decays[name] is decayed],
            "weight_decay": settings.decay if decayed else 0.0,
        }
        for decayed in (True, False)
    ]
    kept = [group for group in groups if group["params"]]
    return torch.optim.SGD(kept, lr=settings.rate, momentum=settings.momentum)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _repeatable() -> AbstractContextManager[Any]:
    """On a GPU, the kernels that give the same sums every time."""
    flags: AbstractContextManager[Any] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True
    )
    return flags
