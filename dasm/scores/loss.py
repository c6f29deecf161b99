"""Cross-entropy of the trained network (the difficulty that the DASM draft names; "loss" in PAD, arXiv 2408.03360)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from dasm.readings import Reading
from dasm.scores import Score, cross_entropy
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class Loss(Score):
    """Minus the log-probability, in nats, that the last snapshot gives to the image's own class; in [0, inf)."""

    def __call__(
        self,
        real: LabelledImages,
        snapshots: Sequence[Reading],
        reference: Sequence[Reading],  # noqa: ARG002
    ) -> Float[Tensor, " n"]:
        return cross_entropy(snapshots[-1], real.labels)
