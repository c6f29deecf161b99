"""Minus the area under the margin (AUM, arXiv 2001.10528), the score of CCS (arXiv 2210.15809).

Deviations from the paper:
1. The sign is turned: a small area is hard.
2. The margin is read at the snapshots, over the whole set at once; the paper reads it at every epoch, in training.
CCS's code takes margins of probabilities; here, as in the paper, of logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm.readings import Reading
from dasm.scores import Score, logit_margin
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class AUM(Score):
    """Largest other logit minus the own class's, mean over the snapshots; any sign, higher is harder."""

    # An area has a width; a single reading is the score `margin`.
    snapshots_needed: ClassVar[int] = 2

    def __call__(
        self,
        real: LabelledImages,
        snapshots: Sequence[Reading],
        reference: Sequence[Reading],  # noqa: ARG002
    ) -> Float[Tensor, " n"]:
        return -torch.stack([logit_margin(reading, real.labels) for reading in snapshots]).mean(0)
