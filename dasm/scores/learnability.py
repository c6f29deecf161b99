"""What is still to be learnt: the evaluator's loss beyond that of networks trained on real images.

The reducible hold-out loss of RHO-Loss (arXiv 2206.07137), which the difference between a current and a reference model
in LGD (arXiv 2604.00519) resembles. An image that is hard for everybody, such as a mislabelled one, is not hard here.

Deviations from RHO-Loss:
1. The reference is the mean over the networks of state 0, which are trained briefly and on the very images that are
   scored; the paper trains one fully, on held-out images.
2. At state 0 there is no reference, and the score is the plain loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm.readings import Reading
from dasm.scores import Score, cross_entropy
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class Learnability(Score):
    """Cross-entropy of the last snapshot minus the reference networks' mean cross-entropy, in nats; any sign."""

    def __call__(
        self, real: LabelledImages, snapshots: Sequence[Reading], reference: Sequence[Reading]
    ) -> Float[Tensor, " n"]:
        now = cross_entropy(snapshots[-1], real.labels)
        if not reference:
            return now
        return now - torch.stack([cross_entropy(reading, real.labels) for reading in reference]).mean(0)
