"""The images that are forgotten most often (Toneva et al., arXiv 1812.05159; a top-k coreset in DeepCore, 2204.08499).

The score and its deviations are those of `dasm/scores/forgetting.py`; images never learnt come first. Class by class,
where the paper removes the least forgotten over all classes. It collapses at small budgets (CCFS, arXiv 2503.18872).
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor

from dasm import rng
from dasm.coresets import Guide, Picked, hardest_first
from dasm.scores import Score
from dasm.scores.forgetting import Forgetting
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class MostForgotten(Picked):
    """Hardest first; ties in random order."""

    @property
    def asked(self) -> Score:
        return Forgetting()

    def __call__(self, real: LabelledImages, count: int, seed: int, guide: Guide) -> Int64[Tensor, "k t"]:
        score, stream = guide.score(self.asked, real), rng.derive(seed, "forgetting")
        return torch.stack([order[:count] for order in hardest_first(real, score, count, stream)])
