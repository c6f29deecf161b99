"""A window at the frontier of what the evaluators can do, class by class; the pace is their own (self-paced, 2010).

With q the mean share of evaluators that classify the class's images correctly, rank fractions u are kept in
[a, a + width) with a = clip(q - lead * width, 0, 1 - width - skip_hardest). The images at ranks below q are, in the
main, those that are right. The window goes from easy to hard because q grows with the segments, and as fast as it does.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm.classes import by_class
from dasm.difficulty import Difficulty
from dasm.errors import within
from dasm.windows import Progress, Window, inside, require_room


@final
@dataclass(frozen=True, kw_only=True)
class Frontier(Window):
    """Position by what is right.

    Attributes:
        width: share of each class that is kept, in (0, 1].
        skip_hardest: share of each class at the hard end that is never reached, in [0, 1).
        lead: share of the window that lies on the easy side of the frontier, in [0, 1].
    """

    width: float = 0.5
    skip_hardest: float = 0.0
    lead: float = 0.5

    def __post_init__(self) -> None:
        """Refuse windows that do not fit."""
        require_room(self.width, self.skip_hardest)
        within(self, "[0, 1]", "lead")

    def __call__(self, difficulty: Difficulty, progress: Progress) -> Float[Tensor, " n"]:  # noqa: ARG002
        lower = torch.zeros_like(difficulty.rank)
        room = max(0.0, 1 - self.width - self.skip_hardest)
        for mine in filter(len, by_class(difficulty.labels)):
            right = float(difficulty.right[mine].double().mean())
            lower[mine] = min(max(right - self.lead * self.width, 0.0), room)
        return inside(difficulty.rank, lower, lower + self.width)
