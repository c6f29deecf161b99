"""From hard to easy: what does the direction add? It is the anti-curriculum of arXiv 2012.03107.

The windows of `linear` in reverse order, so that both learn from the same ranks. With K planned segments, of which
number `first` is the first that has a window, within-class rank fractions u (0 easiest) are kept in [a, a + width) with
a = (1 - width - skip_hardest) * ((K - 1 + first - segments) / (K - 1)) ** exponent, cut to what fits.
"""

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from dasm.difficulty import Difficulty
from dasm.errors import at_least, require
from dasm.windows import Progress, Window, inside, require_room


@final
@dataclass(frozen=True, kw_only=True)
class Reversed(Window):
    """Position by the number of segments, from the hard end.

    Attributes:
        planned_segments: K, >= 1; as many as `linear` is given, its twin. A single segment with a window has no order.
        width: share of each class that is kept, in (0, 1].
        skip_hardest: share of each class at the hard end that is never reached, in [0, 1).
        exponent: > 0; as that of `linear`.
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

    def __call__(self, difficulty: Difficulty, progress: Progress) -> Float[Tensor, " n"]:
        last = self.planned_segments - 1
        share = min(1.0, max(0, last + progress.first_windowed - progress.segments) / max(1, last))
        lower = (1 - self.width - self.skip_hardest) * share**self.exponent
        return inside(difficulty.rank, lower, lower + self.width)
