"""Forgetting events (Toneva et al., arXiv 1812.05159).

Deviations from the paper:
1. Answers are read from the snapshots, over the whole set at once; the paper reads them batch by batch in training.
2. An image that no snapshot gets right counts as many events as there are snapshots, more than any other image can
   have; the paper counts infinitely many. Naive counting gives such images none, that of the easiest.
3. The mean over networks is taken over the J evaluators by `dasm.difficulty`. Counts tie often; ranks break ties by
   position in the data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm.readings import Reading
from dasm.scores import Score
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class Forgetting(Score):
    """How often a right answer turns wrong from one of t snapshots to the next, 0 to t / 2; t if it is never right."""

    snapshots_needed: ClassVar[int] = 2

    def __call__(
        self,
        real: LabelledImages,
        snapshots: Sequence[Reading],
        reference: Sequence[Reading],  # noqa: ARG002
    ) -> Float[Tensor, " n"]:
        right = torch.stack([reading.logits.argmax(1) == real.labels for reading in snapshots])
        events = (right[:-1] & ~right[1:]).sum(0)
        return torch.where(right.any(0), events, len(snapshots)).float()
