"""What a workbench knows of collections before it: statistics without a network, or torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from emqlang.quant.bits.menu import Choice
from emqlang.quant.models import MODELS
from emqlang.quant.statistics import record
from emqlang.quant.statistics.cache import default_root
from emqlang.quant.statistics.record import Kept, Record

if TYPE_CHECKING:
    from emqlang.tasks.workbench import WorkbenchOptions

# Options that statistics depend on, besides the network, the menu and the number of images.
DECISIVE: Final = ("seed", "data", "test", "loss", "label_draws", "hessian_samples")


class Collected:
    """Collections with these options, one without images and one with them.

    options  None where the network or the images have no name: then nothing is known
    """

    def __init__(self, options: WorkbenchOptions | None, choices: Sequence[Choice]) -> None:
        self._options, self._choices = options, tuple(choices)
        self._records: dict[bool, Record | None] = {}
        self._kept: dict[bool, Kept] = {}

    @property
    def held(self) -> Iterator[Kept]:
        """What was read so far."""
        yield from self._kept.values()

    def key(self, images: bool) -> str:
        """Under which a collection is recorded that reads images or none; empty if none may be."""
        return _key(self._options, self._choices, images) if self._options else ""

    def record(self, images: bool) -> Record | None:
        """What is known of such a collection."""
        if images not in self._records:
            key = self.key(images)
            self._records[images] = record.find(default_root(), key) if key else None
        return self._records[images]

    def kept(self, names: Sequence[str], images: bool) -> Kept | None:
        """At least the named statistics; None if not all of them are known."""
        found, held = self.record(images), self._kept.get(images)
        if found is None or (held is not None and held.arrays.keys() >= set(names)):
            return held
        names = (*names, *(held.arrays if held else ()))
        loaded = record.load(default_root(), found, names, self._choices)
        if loaded is not None:
            self._kept[images] = loaded
        return loaded


def _key(options: WorkbenchOptions, choices: Sequence[Choice], images: bool) -> str:
    """Empty unless network and images come with this package, as a key covers what these hold."""
    spec = MODELS.get(options.model) if isinstance(options.model, str) else None
    if spec is None or not options.cache or options.procedure.learned:
        return ""
    own = (options.weights, options.input, options.forward) != (None, None, None)
    ours = {options.data, options.test} <= {None, spec.data}
    on_cpu = options.device == "cpu" or (options.device == "auto" and record.has_no_gpu())
    if own or not ours or not on_cpu or options.loss not in (None, "label", "self"):
        return ""
    facts = [options.images, *(getattr(options, name) for name in DECISIVE)]
    return record.key_of(
        options.model, spec.data if images else "", [list(map(str, choices)), facts]
    )
