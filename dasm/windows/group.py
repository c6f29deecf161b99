"""Disjoint groups of ranks, one per segment, as large as the segment's share of the set (a control).

Segment k learns from the within-class rank fractions in [b_k, b_(k+1)), where b_k is the share of the planned images
that come before it: the partition of PSM (a preprint of 2026), in which the images of one rank group stand for that
group alone. No two segments would share a real image if ranks stayed; ours are computed anew for every segment.
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import final

from jaxtyping import Float
from torch import Tensor

from dasm.difficulty import Difficulty
from dasm.errors import require
from dasm.windows import Progress, Window, inside


@final
@dataclass(frozen=True, kw_only=True)
class Group(Window):
    """A partition by planned size.

    Attributes:
        sizes: images per class of every segment as planned, each >= 1. Like `planned_ipc` they belong to every segment,
            so they have no default and need not follow a set that is extended: later segments take the last group.
    """

    sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse a partition into nothing."""
        require(bool(self.sizes), "sizes must be at least one", [*self.sizes])
        require(all(size >= 1 for size in self.sizes), "sizes must be >= 1", [*self.sizes])

    def __call__(self, difficulty: Difficulty, progress: Progress) -> Float[Tensor, " n"]:
        edges = [0, *accumulate(self.sizes)]
        group = min(progress.segments, len(self.sizes) - 1)
        return inside(difficulty.rank, edges[group] / edges[-1], edges[group + 1] / edges[-1])
