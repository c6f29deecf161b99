"""Windows: which real images a segment learns from, one file per rule."""

from abc import ABC, abstractmethod

from jaxtyping import Float, Int64
from torch import Tensor

from dasm.difficulty import Difficulty


class Window(ABC):
    """A rule that turns difficulty into weights."""

    @abstractmethod
    def __call__(self, difficulty: Difficulty, *, prefix_ipc: int, planned_ipc: int) -> Float[Tensor, " n"]:
        """Return a weight >= 0 for every real image, more than zero for some of every class.

        Args:
            difficulty: of the real set, for networks trained on the segments so far.
            prefix_ipc: images per class distilled so far.
            planned_ipc: images per class of the whole set as planned, >= 1; part of the identity of every segment.
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
