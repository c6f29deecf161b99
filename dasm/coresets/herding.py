"""Herding: the images whose running mean stays nearest to the mean of the class (Welling, 2009; iCaRL, 1611.07725).

Deviations from iCaRL:
1. Features are not normalised to unit length, as in IDC (arXiv 2205.14959).
2. They are those of state 0, of a network trained on real images as briefly as the study says, not to the end.
DeepCore's herding takes the *worst* image at every step; the numbers printed for it are not those of this rule.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from dasm.coresets import Guide, Picked, members_by_class
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class Herding(Picked):
    """Step t adds argmin_i |t * mean - (sum of the t - 1 picked) - h_i| over the features h of the class."""

    def __call__(self, real: LabelledImages, count: int, seed: int, guide: Guide) -> Int64[Tensor, "k t"]:  # noqa: ARG002
        features = guide.features
        rows = [members[_herd(features[members], count)] for members in members_by_class(real, count)]
        return torch.stack(rows)


def _herd(features: Float64[Tensor, "n d"], count: int) -> list[int]:
    lengths, mean, missing = features.square().sum(1), features.mean(0), torch.zeros_like(features[0])
    picked: list[int] = []
    while len(picked) < count:
        missing += mean
        # |missing - h|^2 less what all images share.
        distances = lengths - features @ (2 * missing)
        distances[picked] = torch.inf
        picked.append(int(distances.argmin()))
        missing -= features[picked[-1]]
    return picked
