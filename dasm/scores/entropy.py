"""Entropy of the trained network's answer (uncertainty in DeepCore, arXiv 2204.08499; CCS, arXiv 2210.15809).

It does not look at the label: a sure wrong answer is as easy as a sure right one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor

from dasm.readings import Reading
from dasm.scores import Score
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class Entropy(Score):
    """Entropy of the last snapshot's softmax probabilities, in nats; in [0, log k]."""

    knows_the_label: ClassVar[bool] = False

    def __call__(
        self,
        real: LabelledImages,  # noqa: ARG002
        snapshots: Sequence[Reading],
        reference: Sequence[Reading],  # noqa: ARG002
    ) -> Float[Tensor, " n"]:
        logarithms = snapshots[-1].logits.log_softmax(1)
        return -(logarithms.exp() * logarithms).sum(1)
