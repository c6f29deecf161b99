"""Any window over scores that are read once: what does scoring again add?

Images are ranked by their scores at state 0, for networks trained briefly on real images. PAD (arXiv 2408.03360) and
PSM (2026) rank the real set once, too. Where the window lies, and what evaluators have right, is as without it: only
which images are easy and which are hard stays as it was.
"""

from dataclasses import dataclass, replace
from typing import final

from jaxtyping import Float
from torch import Tensor

from dasm.difficulty import Difficulty
from dasm.windows import Progress, Window


@final
@dataclass(frozen=True, kw_only=True)
class Static(Window):
    """The wrapped window over ranks of state 0.

    Attributes:
        window: is given the scores of state 0 at every state.
    """

    window: Window

    def __call__(self, difficulty: Difficulty, progress: Progress) -> Float[Tensor, " n"]:
        first = progress.first
        return self.window(replace(difficulty, score=first.score, spread=first.spread), progress)
