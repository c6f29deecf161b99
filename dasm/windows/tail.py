"""Every image from a lower edge upwards: later segments drop ever more easy images and never lose the hard ones.

The lower edge is that of `budget`, a = (1 - width - skip_hardest) * min(1, prefix_ipc / planned_ipc) ** exponent;
within-class rank fractions u are kept in [a, 1 - skip_hardest). It is the regime that PAD (arXiv 2408.03360) measured,
which drops easy images and nothing else at high budgets.
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
class Tail(Window):
    """Position by budget, open towards the hard end.

    Attributes:
        width: share of each class that is still kept once all planned images are distilled, in (0, 1].
        skip_hardest: share of each class at the hard end that is never reached, in [0, 1).
        exponent: > 0; above 1 easy images are kept longer.
    """

    width: float = 0.5
    skip_hardest: float = 0.0
    exponent: float = 1.0

    def __post_init__(self) -> None:
        """Refuse windows that do not fit."""
        require_room(self.width, self.skip_hardest)
        require(self.exponent > 0, "exponent must be > 0", self.exponent)

    def __call__(self, difficulty: Difficulty, progress: Progress) -> Float[Tensor, " n"]:
        lower = (1 - self.width - self.skip_hardest) * progress.share**self.exponent
        return inside(difficulty.rank, lower, 1 - self.skip_hardest)
