"""Easy and hard in turns: what does it add that windows only ever get harder?

A control between curriculum and anti-curriculum (Wu et al., 2021, arXiv 2012.03107, compare these with no order): the
windows of `linear`, from the easy end and from the hard end alternately, so that both learn from the same ranks and
neither end is kept for last. With K planned segments, of which number `first` is the first that has a window, the
segment number i = segments - first among those takes place p = first + i / 2 for even i and p = K - 1 - (i - 1) / 2 for
odd i: within-class rank fractions u (0 easiest) are kept in [a, a + width) with
a = (1 - width - skip_hardest) * (p / (K - 1)) ** exponent. Segments beyond those planned stay where the last one is.
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
class Interleaved(Window):
    """Position by the number of segments, from both ends.

    Attributes:
        planned_segments: K, >= 1; as many as `linear` is given, its twin. Fewer than three segments with a window have
            no order of their own.
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
        first, last = progress.first_windowed, self.planned_segments - 1
        turn, from_hard = divmod(max(0, min(progress.segments, last) - first), 2)
        place = last - turn if from_hard else min(last, first + turn)
        lower = (1 - self.width - self.skip_hardest) * (place / max(1, last)) ** self.exponent
        return inside(difficulty.rank, lower, lower + self.width)
