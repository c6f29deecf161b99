"""The images with the longest error vectors (Deep Learning on a Data Diet, arXiv 2107.07075).

The score and its deviations are those of `dasm/scores/el2n.py`. Class by class, where the paper ranks over all classes.
It collapses at small budgets: the hardest tenth of CIFAR-10 trains to half the accuracy of a random one (CCFS, arXiv
2503.18872).
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor

from dasm import rng
from dasm.coresets import Guide, Picked, hardest_first
from dasm.scores import Score
from dasm.scores.el2n import EL2N
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class HighestEL2N(Picked):
    """Hardest first."""

    @property
    def asked(self) -> Score:
        return EL2N()

    def __call__(self, real: LabelledImages, count: int, seed: int, guide: Guide) -> Int64[Tensor, "k t"]:
        score, stream = guide.score(self.asked, real), rng.derive(seed, "el2n")
        return torch.stack([order[:count] for order in hardest_first(real, score, count, stream)])
