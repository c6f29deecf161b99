"""A bell instead of a box: any window without its hard edges, which all windows since SelMatch (arXiv 2406.18561) have.

Weights are exp(-(u - m)^2 / (2 s^2)) over the within-class rank fractions u, with m the middle of the wrapped window
and s in proportion to its width. Every image of the class keeps some weight (unless the bell is so narrow that single
precision calls its ends zero), and the images most looked at are those in the middle of the window.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm.classes import by_class
from dasm.difficulty import Difficulty
from dasm.errors import require
from dasm.windows import Progress, Window


@final
@dataclass(frozen=True, kw_only=True)
class Soft(Window):
    """The wrapped window, softened.

    Attributes:
        window: whose middle (the mean rank by its weights) and width (the share of the class it keeps) are taken.
        spread: standard deviation of the bell in widths of the window, > 0.
    """

    window: Window
    spread: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a bell without a width."""
        require(self.spread > 0, "spread must be > 0", self.spread)

    def __call__(self, difficulty: Difficulty, progress: Progress) -> Float[Tensor, " n"]:
        boxes, ranks = self.window(difficulty, progress).double(), difficulty.rank
        weights = torch.zeros_like(ranks)
        for mine in filter(len, by_class(difficulty.labels)):
            box, rank = boxes[mine], ranks[mine]
            if not box.any():
                continue  # a class too small for the wrapped window; whoever draws from it refuses it
            middle = (box * rank).sum() / box.sum()
            width = (box > 0).double().mean()
            weights[mine] = torch.exp(-((rank - middle) / (self.spread * width)).square() / 2)
        return weights.float()
