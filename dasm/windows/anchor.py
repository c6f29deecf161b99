"""Any window, with a share of every real batch drawn from the whole class.

It keeps what is matched near the mean of the class, which SeqMatch (arXiv 2311.01570) and PDD (arXiv 2310.06982) match
alone. The weights of a class are a mixture: `share` of them spread over every image, the rest as the wrapped window has
it; the share of a batch holds on average. What a segment starts from is chosen by the same weights, so that some of
these images lie outside of the window too (not with `matching.windowed: matching`).
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm.classes import by_class
from dasm.difficulty import Difficulty
from dasm.errors import within
from dasm.windows import Progress, Window


@final
@dataclass(frozen=True, kw_only=True)
class Anchor(Window):
    """The wrapped window, anchored.

    Attributes:
        window: draws the rest of the batch.
        share: of the batch that is drawn from the whole class, in [0, 1]; the method's grid is 0, 0.1, 0.25.
    """

    window: Window
    share: float = 0.1

    def __post_init__(self) -> None:
        """Refuse shares out of range."""
        within(self, "[0, 1]", "share")

    def __call__(self, difficulty: Difficulty, progress: Progress) -> Float[Tensor, " n"]:
        weights = self.window(difficulty, progress).double()
        for mine in filter(len, by_class(difficulty.labels)):
            # Weights of mean 1 in every class, so that a window that keeps every image stays one without a window.
            own = weights[mine]
            mean = own.mean()
            weights[mine] = (1 - self.share) * own / torch.where(mean > 0, mean, 1.0) + self.share
        return weights.float()
