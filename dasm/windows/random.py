"""As many images as a window keeps, but any: what does difficulty add? It is arXiv 2012.03107's random curriculum.

Drawn anew for every segment and class, from the window's own stream.
"""

from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm import rng
from dasm.classes import by_class
from dasm.difficulty import Difficulty
from dasm.windows import Progress, Window, require_room, whole


@final
@dataclass(frozen=True, kw_only=True)
class Random(Window):
    """Position by chance.

    Attributes:
        width: share of each class that is kept, in (0, 1].
        skip_hardest: share of each class at the hard end that is never drawn, in [0, 1).
        ranks: `subset` draws the images one by one; `contiguous` draws the place of a window, so that images are still
            alike in difficulty but in no order.
    """

    width: float = 0.5
    skip_hardest: float = 0.0
    ranks: Literal["subset", "contiguous"] = "subset"

    def __post_init__(self) -> None:
        """Refuse windows that do not fit."""
        require_room(self.width, self.skip_hardest)

    def __call__(self, difficulty: Difficulty, progress: Progress) -> Float[Tensor, " n"]:
        weights, rank = torch.zeros(len(difficulty.labels)), difficulty.rank
        for label, mine in enumerate(by_class(difficulty.labels)):
            room = whole((1 - self.skip_hardest) * len(mine))
            count = min(room, whole(self.width * len(mine)))
            generator = rng.generator(progress.stream, "random", label)
            if self.ranks == "subset":
                places = torch.randperm(room, generator=generator)[:count]
            else:
                places = torch.randint(room - count + 1, (1,), generator=generator) + torch.arange(count)
            # Ranks are drawn, not positions: the draw follows the images if the set is permuted.
            weights[mine[torch.argsort(rank[mine])[places]]] = 1.0
        return weights
