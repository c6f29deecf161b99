"""Windows: which real images a segment learns from, one file per rule."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from jaxtyping import Float, Int64
from torch import Tensor

from dasm.difficulty import Difficulty


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Progress:
    """How far a set has come when a window is chosen.

    Attributes:
        first: difficulty at state 0, for networks trained briefly on real images.
        segments: number of segments distilled so far.
        prefix_ipc: images per class distilled so far.
        planned_ipc: images per class of the whole set as planned, >= 1; part of the identity of every segment.
        stream: of the windows that draw.
    """

    first: Difficulty
    segments: int
    prefix_ipc: int
    planned_ipc: int
    stream: int


class Window(ABC):
    """A rule that turns difficulty into weights."""

    @abstractmethod
    def __call__(self, difficulty: Difficulty, progress: Progress) -> Float[Tensor, " n"]:
        """Return a weight >= 0 for every real image, more than zero for some of every class.

        Args:
            difficulty: of the real set, for networks trained on the segments so far.
            progress: how far the set has come.
        """


def edges(weights: Float[Tensor, " n"], rank: Float[Tensor, " n"], labels: Int64[Tensor, " n"]) -> tuple[float, float]:
    """Return the lowest and the highest rank fraction with positive weight, each averaged over the classes.

    The upper edge is exclusive: a window that keeps everyone is (0, 1).
    """
    lower, upper = [], []
    for label in labels.unique().tolist():
        mine = labels == label
        kept = rank[mine & (weights > 0)]
        lower.append(float(kept.min()))
        upper.append(float(kept.max()) + 1 / int(mine.sum()))
    return sum(lower) / len(lower), sum(upper) / len(upper)
