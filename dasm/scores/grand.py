"""GraNd, the length of an image's loss gradient (Deep Learning on a Data Diet, arXiv 2107.07075).

Deviations from the paper:
1. The gradient of the last linear layer alone, in closed form: with error e = softmax - one-hot and features h it is
   [e ; e h^T], of length |e| * sqrt(1 + |h|^2). DeepCore (arXiv 2204.08499) does the same.
2. Read at the last snapshot of a short training; the paper reads at the start or after a few epochs.
3. The mean over networks is taken over the J evaluators, 3 by default, by `dasm.difficulty`; the paper takes ten.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from dasm.readings import Reading
from dasm.scores import Score, prediction_error
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class GraNd(Score):
    """Euclidean length of the loss gradient by the last layer's weights and biases, last snapshot; in [0, inf)."""

    def __call__(
        self,
        real: LabelledImages,
        snapshots: Sequence[Reading],
        reference: Sequence[Reading],  # noqa: ARG002
    ) -> Float[Tensor, " n"]:
        error = prediction_error(snapshots[-1], real.labels).norm(dim=1)
        return error * (1 + snapshots[-1].features.square().sum(1)).sqrt()
