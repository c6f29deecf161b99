"""The naive filter of the DASM draft: leave the easy images out once and for all, before anything is distilled.

Within-class rank fractions u at state 0 are kept in [share, 1): one window for all segments. The draft expects it to
lose badly; PAD (arXiv 2408.03360, figure 3) saw mild gains up to a fifth, losses from 30 % on. To filter the first
segment too, set `first_window: window`.

Deviation from the draft: 1. it gives no share; the default is the least that lost in PAD.
"""

from dataclasses import dataclass
from typing import Literal, final

from jaxtyping import Float
from torch import Tensor

from dasm.difficulty import Difficulty
from dasm.errors import within
from dasm.windows import Progress, Window, inside


@final
@dataclass(frozen=True, kw_only=True)
class HardFilter(Window):
    """One fixed window.

    Attributes:
        share: share of each class that is left out, in [0, 1).
        drop: which end is left out; `hardest` is the control of the control.
    """

    share: float = 0.3
    drop: Literal["easiest", "hardest"] = "easiest"

    def __post_init__(self) -> None:
        """Refuse a share that keeps no image."""
        within(self, "[0, 1)", "share")

    def __call__(self, difficulty: Difficulty, progress: Progress) -> Float[Tensor, " n"]:  # noqa: ARG002
        rank = progress.first.rank
        return inside(rank, self.share, 1.0) if self.drop == "easiest" else inside(rank, 0.0, 1 - self.share)
