"""Misclassification votes: how often an image is classified wrongly by networks along their training.

With one snapshot it is the vote of the trained network. With several it is the cumulative binary training loss that
Jiang et al. (ICML 2021, arXiv 2002.03206) found to be a proxy of their consistency score (C-score): what is learnt late
is irregular. Deviations from the paper:
1. Answers are read from the snapshots, over the whole set at once; the paper sums over all epochs, in training.
2. The mean over networks is taken over the J evaluators by `dasm.difficulty`. Votes often tie; ranks break ties by
   position in the data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm.readings import Reading
from dasm.scores import Score
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class Votes(Score):
    """Share of the snapshots whose answer is wrong, in [0, 1]."""

    def __call__(
        self,
        real: LabelledImages,
        snapshots: Sequence[Reading],
        reference: Sequence[Reading],  # noqa: ARG002
    ) -> Float[Tensor, " n"]:
        wrong = torch.stack([reading.logits.argmax(1) != real.labels for reading in snapshots])
        return wrong.float().mean(0)
