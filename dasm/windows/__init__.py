"""Windows: which real images a segment learns from, one file per rule."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import ceil
from typing import final

from jaxtyping import Float, Int64
from torch import Tensor

from dasm.classes import by_class
from dasm.difficulty import Difficulty
from dasm.errors import at_least, require

# Far less than the step between two ranks; absorbs rounding at both edges of a window, where 1 - 0.8 is less than 0.2.
_SLACK = 1e-9


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Progress:
    """How far a set has come when a window is chosen.

    Attributes:
        first: difficulty at state 0, for networks trained briefly on real images.
        segments: number of segments distilled so far.
        first_windowed: number of the first segment that has a window: 1 where the first keeps every image, else 0.
        prefix_ipc: images per class distilled so far.
        planned_ipc: images per class of the whole set as planned, >= 1; part of the identity of every segment.
        stream: of the windows that draw.
    """

    first: Difficulty
    segments: int
    first_windowed: int
    prefix_ipc: int
    planned_ipc: int
    stream: int

    @property
    def share(self) -> float:
        """Share of the planned images distilled so far, in [0, 1]."""
        return min(1.0, self.prefix_ipc / self.planned_ipc)


class Window(ABC):
    """A rule that turns difficulty into weights."""

    @abstractmethod
    def __call__(self, difficulty: Difficulty, progress: Progress) -> Float[Tensor, " n"]:
        """Return a weight >= 0 for every real image.

        More than zero for some of every class, unless a class is so small that no rank fraction of its images lies in a
        narrow window; whoever draws from that class then refuses it.

        Args:
            difficulty: of the real set, for networks trained on the segments so far.
            progress: how far the set has come.
        """


@dataclass(frozen=True, kw_only=True)
class Stepping(Window):
    """A window of fixed width that takes another place for every segment, by its number; a rule each says which.

    Within-class rank fractions u (0 easiest) are kept in [a, a + width) with
    a = (1 - width - skip_hardest) * place ** exponent.

    Attributes:
        planned_segments: K, segments of the whole set as planned, >= 1. Like `planned_ipc` it belongs to every segment,
            so it has no default and need not follow a set that is extended.
        width: share of each class that is kept, in (0, 1].
        skip_hardest: share of each class at the hard end that is never reached, in [0, 1); where labels are noisy,
            about the share of wrong ones.
        exponent: > 0; above 1 the windows lie closer to the easy end.
    """

    planned_segments: int
    width: float = 0.5
    skip_hardest: float = 0.0
    exponent: float = 1.0

    def __post_init__(self) -> None:
        """Refuse windows that do not fit."""
        at_least(self, 1, "planned_segments")
        require_room(self.width, self.skip_hardest)
        require(self.exponent > 0, "exponent must be > 0", self.exponent)

    @abstractmethod
    def place(self, progress: Progress) -> float:
        """Return where the window of the next segment lies, from 0, the easy end, to 1, the hard end."""

    def __call__(self, difficulty: Difficulty, progress: Progress) -> Float[Tensor, " n"]:
        lower = (1 - self.width - self.skip_hardest) * self.place(progress) ** self.exponent
        return inside(difficulty.rank, lower, lower + self.width)


def inside(
    rank: Float[Tensor, " n"], lower: float | Float[Tensor, " n"], upper: float | Float[Tensor, " n"]
) -> Float[Tensor, " n"]:
    """Return 1 where the rank fraction is in [lower, upper), and 0 elsewhere."""
    return ((rank >= lower - _SLACK) & (rank < upper - _SLACK)).float()


def whole(images: float) -> int:
    """Return a number of images rounded up, but for rounding errors: as many as a window from rank 0 keeps."""
    return ceil(images - _SLACK)


def require_room(width: float, skip_hardest: float) -> None:
    """Refuse a window that does not fit between the easiest image and the hardest ones that are skipped."""
    require(0 < width <= 1, "width must be in (0, 1]", width)
    require(0 <= skip_hardest <= 1 - width + _SLACK, "skip_hardest must be in [0, 1 - width]", skip_hardest)


def edges(weights: Float[Tensor, " n"], rank: Float[Tensor, " n"], labels: Int64[Tensor, " n"]) -> tuple[float, float]:
    """Return the lowest and the highest rank fraction that the window is at, each averaged over the classes.

    It is where the weight is at least half of the class's largest: all of a hard window, the upper half of a soft one.
    The upper edge is exclusive: a window that keeps every image is (0, 1).
    """
    lower, upper = [], []
    for mine in filter(len, by_class(labels)):
        own = weights[mine]
        kept = rank[mine[own >= own.max() / 2]]
        lower.append(float(kept.min()))
        upper.append(float(kept.max()) + 1 / len(mine))
    return sum(lower) / len(lower), sum(upper) / len(upper)
