"""From hard to easy: what does the direction add? It is the anti-curriculum of arXiv 2012.03107.

Within-class rank fractions u (0 easiest) are kept in [a, a + width) with
a = (1 - width - skip_hardest) * (1 - min(1, prefix_ipc / planned_ipc) ** exponent): the places of `budget`, backwards.
"""

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from dasm.difficulty import Difficulty
from dasm.errors import require
from dasm.windows import Progress, Window, inside, require_room


@final
@dataclass(frozen=True, kw_only=True)
class Reversed(Window):
    """Position by budget, from the hard end.

    Attributes:
        width: share of each class that is kept, in (0, 1].
        skip_hardest: share of each class at the hard end that is never reached, in [0, 1).
        exponent: > 0; above 1 the window stays with hard images longer.
    """

    width: float = 0.5
    skip_hardest: float = 0.0
    exponent: float = 1.0

    def __post_init__(self) -> None:
        """Refuse windows that do not fit."""
        require_room(self.width, self.skip_hardest)
        require(self.exponent > 0, "exponent must be > 0", self.exponent)

    def __call__(self, difficulty: Difficulty, progress: Progress) -> Float[Tensor, " n"]:
        lower = (1 - self.width - self.skip_hardest) * (1 - progress.share**self.exponent)
        return inside(difficulty.rank, lower, lower + self.width)
