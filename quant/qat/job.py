"""Training as it is asked for: on which images, towards what, and where it is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from emqlang.quant.data.datasets import Dataset
from emqlang.quant.networks.loss import Own
from emqlang.quant.networks.network import Network
from emqlang.quant.networks.rows import Rows
from emqlang.quant.progress import Progress, silent
from emqlang.quant.ptq.quantized import Quantized
from emqlang.quant.qat.objective import Objective
from emqlang.quant.qat.resume import InFile
from emqlang.quant.qat.schedule import Settings
from emqlang.quant.qat.split import Split
from emqlang.quant.qat.trainer import Trained, Trainer
from emqlang.store import as_path


@dataclass(frozen=True, eq=False)
class Job:
    """A network's training, of which any quantized one of its kind may be the start."""

    network: Network
    images: Dataset
    split: Split
    objective: Objective
    settings: Settings
    device: str

    @classmethod
    def of(
        cls,
        network: Network,
        images: Dataset,
        settings: Settings,
        loss: Own | None = None,
        device: str = "cpu",
    ) -> Job:
        """The images are read once, so that they may be shuffled, and are held in memory.

        loss  the user's own
        Raises E303 where there is nothing to learn from, E304 for a single image.
        """
        held = Rows.of(images.batches())
        images = replace(images, stream=lambda: iter(held.batches))
        split = Split.of(held, settings.seed)
        objective = Objective(network.signature, loss, settings.distill, settings.temperature)
        objective.check(split.training.batches)
        return cls(network, images, split, objective, settings, device)

    def kept(
        self,
        quantized: Quantized,
        folder: str | Path,
        note: Callable[[str], None] = lambda line: None,
    ) -> InFile:
        """Where what is learned from this start is kept, which an interrupted run resumes from.

        note  told that it does, or why not
        Raises E301 for what is no path.
        """
        own = getattr(self.objective.own, "__qualname__", "")
        facts = self.images.fingerprint, own, self.device
        return InFile(as_path(folder), quantized, self.settings, facts, note)

    def run(
        self, quantized: Quantized, kept: InFile | None = None, progress: Progress = silent
    ) -> Trained:
        """Train. Raises E320 where training diverges."""
        parts = self.network, quantized, self.split, self.objective, self.settings
        return Trainer(*parts, device=self.device, kept=kept, progress=progress).run()
