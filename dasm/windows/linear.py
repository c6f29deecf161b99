"""A window of fixed width whose place grows with the number of segments, the naive curriculum (Bengio et al., 2009).

Within-class rank fractions u (0 easiest) are kept in [a, a + width) with
a = (1 - width - skip_hardest) * min(1, segments / (planned_segments - 1)) ** exponent. Unlike with `budget` the last
segment always sees the hard end, however few there are; where segments grow in size, most images then come from there.
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
class Linear(Window):
    """Position by segment.

    Attributes:
        planned_segments: segments of the whole set as planned, >= 1; the last of them has the hardest window. Like
            `planned_ipc` it belongs to every segment, so it has no default and need not follow a set that is extended.
        width: share of each class that is kept, in (0, 1].
        skip_hardest: share of each class at the hard end that is never reached, in [0, 1); where labels are noisy,
            about the share of wrong ones.
        exponent: > 0; above 1 the window stays with easy images longer.
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
        share = min(1.0, progress.segments / max(1, self.planned_segments - 1))
        lower = (1 - self.width - self.skip_hardest) * share**self.exponent
        return inside(difficulty.rank, lower, lower + self.width)
