"""What the evaluators get wrong and networks trained on real images get right (CCFS, arXiv 2503.18872).

Of these candidates the easiest are kept, class by class; a class that has too few is filled with the easiest others
that the reference gets right, and then with the easiest of the rest (the order of CUDD, arXiv 2405.09150).

Deviations from CCFS:
1. It picks the images that it adds to the set; here they are what the next segment learns from, which takes many more.
   Both shares are therefore our own.
2. The reference is the networks of state 0, which are trained briefly; the paper's teacher is trained fully.
3. Easiest by the score in force; the paper ranks by forgetting.
4. Several networks are wrong where more than half of them are, and right otherwise.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm.classes import by_class
from dasm.difficulty import Difficulty
from dasm.errors import within
from dasm.windows import Progress, Window, whole


@final
@dataclass(frozen=True, kw_only=True)
class Residual(Window):
    """Wrong now, right for the reference.

    Attributes:
        share: share of each class's candidates that is kept, easiest first, in (0, 1].
        least: share of each class that is kept whatever the candidates, in (0, 1]; enough for a real batch and for the
            images that a segment starts from.
    """

    share: float = 0.5
    least: float = 0.3

    def __post_init__(self) -> None:
        """Refuse shares out of range."""
        within(self, "(0, 1]", "share", "least")

    def __call__(self, difficulty: Difficulty, progress: Progress) -> Float[Tensor, " n"]:
        weights = torch.zeros(len(difficulty.labels))
        known = progress.first.right >= 0.5
        candidate = known & (difficulty.right < 0.5)
        # 0 for candidates, 1 for the others that the reference knows, 2 for the rest.
        turn = 2 - known.long() - candidate.long()
        rank = difficulty.rank
        for mine in by_class(difficulty.labels):
            wanted = max(whole(self.share * int(candidate[mine].sum())), whole(self.least * len(mine)))
            order = mine[torch.argsort(turn[mine] + rank[mine])]
            weights[order[:wanted]] = 1.0
        return weights
