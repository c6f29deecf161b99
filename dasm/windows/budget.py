"""A window of fixed width whose place grows with the images distilled so far (the method's own reading).

Within-class rank fractions u (0 easiest) are kept in [a, a + width) with
a = (1 - width - skip_hardest) * min(1, prefix_ipc / planned_ipc) ** exponent. Ranks are re-computed for every segment,
so the window is dynamic even where it does not move. The width's ground is PAD (arXiv 2408.03360, figure 3): dropping
a fifth of the easiest images helps at high budgets, dropping a third already hurts.

Few segments of growing size never bring it to the hard end, and to lose hard images costs: 1.4 to 1.8 points on the
digits, where `linear` and `tail` gained over no window at all (reports/LOG.md).
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
class Budget(Window):
    """Position by budget.

    Attributes:
        width: share of each class that is kept, in (0, 1]; 1 keeps every image.
        skip_hardest: share of each class at the hard end that is never reached, in [0, 1); 0.05 where labels are noisy.
        exponent: > 0; above 1 the window stays with easy images longer.
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
        return inside(difficulty.rank, lower, lower + self.width)
