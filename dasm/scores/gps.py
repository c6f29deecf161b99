"""GPS, how far the statistics of an image lie from those of the whole set (PSM, a preprint of 2026).

For every layer l with C channels: the distance of the image's channel means from the set's, plus beta times that of the
logarithms of the variances, over the root of C; the mean over the layers. An image whose every layer looks like the
average of the set is easy. The label is not looked at.

Deviations from the paper, as far as it is known to us:
1. It reads what its teachers' batch-norm layers keep. Here the set's own statistics are taken, over the images that are
   scored, from what leaves each convolution: networks with any normalisation, or none, can be asked.
2. It averages ranks over its teachers; here `dasm.difficulty` averages the scores.
3. A thousandth of the set's variance is added to both variances: a channel that is silent for an image would be
   infinitely far away.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm.errors import require
from dasm.readings import Reading
from dasm.scores import Score
from dasm.types import LabelledImages

_SILENCE = 1e-3


@final
@dataclass(frozen=True, kw_only=True)
class GPS(Score):
    """Distance of an image's layer statistics from those of the set, mean over the layers, >= 0.

    Attributes:
        beta: weight of the variances, >= 0.
    """

    knows_the_label: ClassVar[bool] = False
    looks_around: ClassVar[bool] = True
    needs_convolutions: ClassVar[bool] = True
    beta: float = 1.0

    def __post_init__(self) -> None:
        """Refuse a negative weight."""
        require(self.beta >= 0, "beta must be >= 0", self.beta)

    def __call__(
        self,
        real: LabelledImages,  # noqa: ARG002
        snapshots: Sequence[Reading],
        reference: Sequence[Reading],  # noqa: ARG002
    ) -> Float[Tensor, " n"]:
        layers = snapshots[-1].moments
        require(bool(layers), "gps: evaluators must have convolutions over more than one pixel", "none")
        return torch.stack([self._distance(*moments) for moments in layers]).mean(0)

    def _distance(self, means: Float[Tensor, "n c"], variances: Float[Tensor, "n c"]) -> Float[Tensor, " n"]:
        centre = means.mean(0)
        whole = variances.mean(0) + means.var(0, correction=0)
        floor = _SILENCE * whole + torch.finfo(whole.dtype).tiny  # the latter for channels that are silent for all
        away = (means - centre).norm(dim=1) + self.beta * ((variances + floor) / (whole + floor)).log().norm(dim=1)
        return away / math.sqrt(means.shape[1])
