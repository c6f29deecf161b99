"""LBPE, the prediction error while the network was at its best (You Only Condense Once, arXiv 2310.14019).

The sum of the lengths of softmax minus one-hot label over the epochs in which a training was most accurate. YOCO keeps
the images of a condensed set for which it is smallest; here it scores real images for evaluators trained on such a set.

Deviations from the paper:
1. Its epochs are snapshots here, and how accurate each is, the real images that are scored say; evaluators of a
   segment have not learnt from them. Test images are asked nothing.
2. The mean over the snapshots, not their sum, so that fewer of them are comparable; ranks are the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm.errors import at_least
from dasm.readings import Reading
from dasm.scores import Score, prediction_error
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class LBPE(Score):
    """Euclidean length of softmax minus one-hot label, mean over the most accurate snapshots; in [0, sqrt(2)].

    Attributes:
        best: snapshots that count, >= 1, or all if there are fewer (10 in YOCO); of equally accurate ones the later.
    """

    snapshots_needed: ClassVar[int] = 2
    looks_around: ClassVar[bool] = True
    best: int = 10

    def __post_init__(self) -> None:
        """Refuse none."""
        at_least(self, 1, "best")

    def __call__(
        self,
        real: LabelledImages,
        snapshots: Sequence[Reading],
        reference: Sequence[Reading],  # noqa: ARG002
    ) -> Float[Tensor, " n"]:
        right = [int(reading.logits.argmax(1).eq(real.labels).sum()) for reading in snapshots]
        ranked = sorted(range(len(snapshots)), key=lambda i: (right[i], i), reverse=True)
        chosen = sorted(ranked[: self.best])
        return torch.stack([prediction_error(snapshots[i], real.labels).norm(dim=1) for i in chosen]).mean(0)
