"""Any window over scores that are read once: what does scoring again add?

The windows move as ever, but over the difficulty of state 0, for networks trained briefly on real images. PAD (arXiv
2408.03360) and PSM (2026) rank the real set once, too.
"""

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from dasm.difficulty import Difficulty
from dasm.windows import Progress, Window


@final
@dataclass(frozen=True, kw_only=True)
class Static(Window):
    """The wrapped window, blind to the segments so far.

    Attributes:
        window: is given the difficulty at state 0 at every state.
    """

    window: Window

    def __call__(self, difficulty: Difficulty, progress: Progress) -> Float[Tensor, " n"]:  # noqa: ARG002
        return self.window(progress.first, progress)
