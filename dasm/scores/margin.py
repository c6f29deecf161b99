"""Minus the margin of the trained network (the uncertainty of DeepCore, arXiv 2204.08499).

Deviation from DeepCore: 1. the margin is that of the own class over the largest other one, negative where the answer is
wrong, as in AUM (arXiv 2001.10528); DeepCore takes the two largest probabilities, whatever the label.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from dasm.readings import Reading
from dasm.scores import Score, logit_margin
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class Margin(Score):
    """Largest other logit minus the own class's, last snapshot; any sign, above 0 where the answer is wrong."""

    def __call__(
        self,
        real: LabelledImages,
        snapshots: Sequence[Reading],
        reference: Sequence[Reading],  # noqa: ARG002
    ) -> Float[Tensor, " n"]:
        return -logit_margin(snapshots[-1], real.labels)
