"""EL2N, the expected length of the error vector (Deep Learning on a Data Diet, arXiv 2107.07075).

Deviations from the paper:
1. It reads ten networks once, early in training (about epoch 10 to 20). Here all snapshots of a training are averaged,
   as CCS (arXiv 2210.15809) averages its first ten epochs: a single reading of a single network is mostly noise. With
   one snapshot it is the paper's single reading, at the end of a training that is as short as its step budget.
2. The mean over networks is taken over the J evaluators, 3 by default, by `dasm.difficulty`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm.readings import Reading
from dasm.scores import Score, prediction_error
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class EL2N(Score):
    """Euclidean length of softmax minus one-hot label, mean over the snapshots; in [0, sqrt(2)]."""

    def __call__(
        self,
        real: LabelledImages,
        snapshots: Sequence[Reading],
        reference: Sequence[Reading],  # noqa: ARG002
    ) -> Float[Tensor, " n"]:
        lengths = [prediction_error(reading, real.labels).norm(dim=1) for reading in snapshots]
        return torch.stack(lengths).mean(0)
