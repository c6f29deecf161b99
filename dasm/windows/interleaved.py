"""Easy and hard in turns: what does it add that windows only ever get harder?

A control between curriculum and anti-curriculum (Wu et al., 2021, arXiv 2012.03107, compare these with no order): the
windows of `linear`, from the easy end and from the hard end alternately, so that both learn from the same ranks and
neither end is kept for last. With K planned segments, of which number `first` is the first that has a window, segment
number i = segments - first among those takes the place p / (K - 1) of `Stepping` with p = first + i / 2 for even i and
p = K - 1 - (i - 1) / 2 for odd i. Segments beyond those planned stay where the last one is. Fewer than three segments
with a window have no order of their own.
"""

from dataclasses import dataclass
from typing import final

from dasm.windows import Progress, Stepping


@final
@dataclass(frozen=True, kw_only=True)
class Interleaved(Stepping):
    """From both ends to the middle."""

    def place(self, progress: Progress) -> float:
        first, last = progress.first_windowed, self.planned_segments - 1
        turn, from_hard = divmod(max(0, min(progress.segments, last) - first), 2)
        return (last - turn if from_hard else min(last, first + turn)) / max(1, last)
