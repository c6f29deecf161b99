"""From difficulty to the next window: which part of the real set is kept."""

from dataclasses import dataclass, replace
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm import rng
from dasm.difficulty import Difficulty
from dasm.errors import ConfigError, require
from dasm.plugins import name_of
from dasm.scores import Score
from dasm.windows import Progress, Window


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
        ranks: whom an image is ranked among for the window: its own `class`, so that a window keeps as many of every
            class, or `all` images (A5), which leaves a class that is learnt late with more of them. `frontier` places
            its window class by class either way.
    """

    score: Score
    window: Window
    first_window: Literal["all", "window"] = "all"
    ranks: Literal["class", "all"] = "class"

    def weigh(
        self,
        difficulty: Difficulty,
        *,
        first: Difficulty | None,
        segments: int,
        prefix_ipc: int,
        planned_ipc: int,
        seed: int,
    ) -> Float[Tensor, " n"]:
        """Weigh every real image for the next segment.

        Args:
            difficulty: of n images, for the networks that learnt the segments so far.
            first: difficulty at state 0; None at state 0 itself.
            segments: number of segments so far.
            prefix_ipc: images per class distilled so far.
            planned_ipc: images per class of the whole set.
            seed: root seed.

        Returns:
            A weight >= 0 per image.

        Raises:
            ConfigError: the window returns anything else.
        """
        first_windowed = 1 if self.first_window == "all" else 0
        if segments < first_windowed:
            return torch.ones(len(difficulty.labels))
        progress = Progress(
            first=replace(first or difficulty, among=self.ranks),
            segments=segments,
            first_windowed=first_windowed,
            prefix_ipc=prefix_ipc,
            planned_ipc=planned_ipc,
            stream=rng.derive(seed, "window", segments),
        )
        weights = self.window(replace(difficulty, among=self.ranks), progress)
        whose, images = f"window {name_of(self.window)}: must return a finite weight >= 0", len(difficulty.score)
        require(weights.shape == (images,), f"{whose} for each of {images} images", [*weights.shape])
        wrong = int((~(weights >= 0) | weights.isinf()).sum())
        if wrong:
            raise ConfigError(f"{whose} for every image, got {wrong} others")
        return weights
