"""How far training is, and what each epoch was worth."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Score:
    """What a state is worth on the validation images.

    loss      of the objective, the mean over images
    accuracy  None without labels of classes
    """

    loss: float
    accuracy: float | None = None

    def beats(self, other: Score) -> bool:
        """By accuracy where there is one, of equals by loss."""
        if self.accuracy is not None and other.accuracy is not None:
            return (self.accuracy, -self.loss) > (other.accuracy, -other.loss)
        return self.loss < other.loss


@dataclass
class Course:
    """How far training is, and what it has found.

    images      of the epoch that have been shown; `epoch` epochs are finished
    validation  scores after 0, 1, ... epochs: the first is the network's as it began
    losses      mean training loss of each finished epoch
    """

    epoch: int = 0
    images: int = 0
    total: float = 0.0
    validation: list[Score] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    recent: list[float] = field(default_factory=list)

    @property
    def best(self) -> int:
        """The epoch after which the network was best; of equals the first."""
        best = 0
        for epoch, score in enumerate(self.validation):
            if score.beats(self.validation[best]):
                best = epoch
        return best
