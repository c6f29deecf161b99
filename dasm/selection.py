"""From evaluators to the next window: score the real set, keep a part of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm.difficulty import Difficulty, measure
from dasm.networks import Classifier
from dasm.scores import Score
from dasm.types import LabelledImages
from dasm.windows import Window


@final
@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is hard, and which part of the real set the next segment learns from.

    Attributes:
        score: difficulty, higher is harder.
        window: turns difficulty into weights.
        first_window: `all` distils the first segment from every real image, so that a single segment *is* joint
            distillation (A2); `window` applies the window to the first segment too, on scores of networks trained
            briefly on real images.
    """

    score: Score
    window: Window
    first_window: Literal["all", "window"] = "all"

    def choose(
        self,
        real: LabelledImages,
        evaluators: Sequence[Sequence[Classifier]],
        *,
        prefix_ipc: int,
        planned_ipc: int,
    ) -> tuple[Difficulty, Float[Tensor, " n"]]:
        """Score every real image and weigh it for the next segment.

        Args:
            real: n images.
            evaluators: for each network its snapshots along training.
            prefix_ipc: images per class distilled so far.
            planned_ipc: images per class of the whole set.

        Returns:
            The difficulty and a weight >= 0 per image.
        """
        difficulty = measure(real, evaluators, self.score)
        if prefix_ipc == 0 and self.first_window == "all":
            return difficulty, torch.ones(len(real))
        return difficulty, self.window(difficulty, prefix_ipc=prefix_ipc, planned_ipc=planned_ipc)
