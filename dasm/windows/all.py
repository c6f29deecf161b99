"""Every image (the control: sequential distillation without selection, as in SeqMatch, arXiv 2311.01570)."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm.difficulty import Difficulty
from dasm.windows import Progress, Window


@final
@dataclass(frozen=True, kw_only=True)
class All(Window):
    """Weight 1 for every image."""

    def __call__(self, difficulty: Difficulty, progress: Progress) -> Float[Tensor, " n"]:  # noqa: ARG002
        return torch.ones(len(difficulty.labels))
