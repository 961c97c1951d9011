"""Interrupted training, in a file from which the same training goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec
from torch import Tensor

from emqlang.quant import sealed
from emqlang.quant.ptq.quantized import Quantized
from emqlang.quant.qat.course import Course
from emqlang.quant.qat.schedule import Settings
from emqlang.quant.unfinished import UNFINISHED, Unfinished


class InFile:
    """What was learned so far, in the folder of the result.

    quantized  the network as it began
    facts      what else decides: the images, the loss, the device
    note       told that the work goes on from what is there, or why it does not
    """

    def __init__(
        self,
        folder: Path,
        quantized: Quantized,
        settings: Settings,
        facts: Sequence[str],
        note: Callable[[str], None],
    ) -> None:
        tensors, texts = quantized.stored()
        began = [sealed.digest_of(tensors, texts), asdict(settings), *facts]
        self.file = Unfinished(folder / UNFINISHED, began, note)
        self.folder, self.settings, self.note = folder, settings, note

    def save(self, state: Mapping[str, Tensor], course: Course) -> None:
        self.file.save(state, course=msgspec.json.encode(course).decode())

    def load(self) -> tuple[Mapping[str, Tensor], Course] | None:
        if (found := self.file.load()) is None:
            return None
        tensors, texts = found
        course = msgspec.json.decode(texts["course"], type=Course)
        done = f"{course.epoch} of {self.settings.epochs} epochs are done"
        if course.images:
            done += f", and {course.images:,} images of the next"
        self.note(f"{done}: going on from {self.file.path}")
        return tensors, course

    def finish(self, quantized: Quantized) -> None:
        """Write the result beside it, and then remove it: a kill may come at any time."""
        quantized.save(self.folder)
        self.file.path.unlink(missing_ok=True)
