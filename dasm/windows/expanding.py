"""Every image up to an upper edge that grows: easy images are kept, and harder ones join (a control).

Within-class rank fractions u (0 easiest) are kept in [0, b) with
b = start + (1 - skip_hardest - start) * min(1, prefix_ipc / planned_ipc). It is the early phase of PAD (arXiv
2408.03360), which adds hard images before it drops easy ones, and of DATM (arXiv 2310.05773), whose range of epochs
grows. What it adds to no window is the order alone: nothing easy is ever left out.

Differences: 1. PAD and DATM grow by iteration within one segment; ours grows from segment to segment. 2. DATM's
difficulty is the epoch of an expert; ours is the score.
"""

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from dasm.difficulty import Difficulty
from dasm.errors import require, within
from dasm.windows import Progress, Window, inside


@final
@dataclass(frozen=True, kw_only=True)
class Expanding(Window):
    """Position by budget, open towards the easy end.

    Attributes:
        start: share of each class that is kept at first, in (0, 1].
        skip_hardest: share of each class at the hard end that is never reached, in [0, 1 - start].
    """

    start: float = 0.75
    skip_hardest: float = 0.0

    def __post_init__(self) -> None:
        """Refuse windows that do not fit."""
        within(self, "(0, 1]", "start")
        room = self.skip_hardest <= 1 - self.start
        require(room and self.skip_hardest >= 0, "skip_hardest must be in [0, 1 - start]", self.skip_hardest)

    def __call__(self, difficulty: Difficulty, progress: Progress) -> Float[Tensor, " n"]:
        upper = self.start + (1 - self.skip_hardest - self.start) * progress.share
        return inside(difficulty.rank, 0.0, upper)
