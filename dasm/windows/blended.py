"""Any window over ranks between those of state 0 and those of now: whose are to be trusted, and how far?

The rank fractions of both are mixed, (1 - share) u_0 + share u_k, and whoever wraps another window is given the ranks
of the mixture. Share 0 is `static`, share 1 the wrapped window alone. PSM (2026) averages ranks too, those of several
networks trained on real images; here the two sides are networks that have learnt all real images and networks that
have learnt the segments so far. Where the window lies, and what evaluators have right, is as without it.
"""

from dataclasses import dataclass, replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm.difficulty import Difficulty
from dasm.errors import within
from dasm.windows import Progress, Window


@final
@dataclass(frozen=True, kw_only=True)
class Blended(Window):
    """The wrapped window over mixed ranks.

    Attributes:
        window: is given the mixed ranks at every state.
        share: of the ranks of now in the mixture, in [0, 1].
    """

    window: Window
    share: float = 0.5

    def __post_init__(self) -> None:
        """Refuse shares out of range."""
        within(self, "[0, 1]", "share")

    def __call__(self, difficulty: Difficulty, progress: Progress) -> Float[Tensor, " n"]:
        mixed = (1 - self.share) * progress.first.rank + self.share * difficulty.rank
        # The spread is one of scores, which ranks have none of.
        return self.window(replace(difficulty, score=mixed, spread=torch.zeros_like(difficulty.spread)), progress)
