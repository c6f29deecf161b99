"""From hard to easy: what does the direction add? It is the anti-curriculum of arXiv 2012.03107.

The windows of `linear` in reverse order, so that both learn from the same ranks. With K planned segments, of which
number `first` is the first that has a window, the place of `Stepping` is (K - 1 + first - segments) / (K - 1), cut to
what fits; `planned_segments` is that of `linear`, its twin. A single segment with a window has no order.
"""

from dataclasses import dataclass
from typing import final

from dasm.windows import Progress, Stepping


@final
@dataclass(frozen=True, kw_only=True)
class Reversed(Stepping):
    """From the hard end to the easy end."""

    def place(self, progress: Progress) -> float:
        last = self.planned_segments - 1
        return min(1.0, max(0, last + progress.first_windowed - progress.segments) / max(1, last))
