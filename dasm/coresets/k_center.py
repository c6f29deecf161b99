"""Greedy k-center: always the image farthest from those picked (Sener & Savarese, arXiv 1708.00489).

Deviations from the paper:
1. Class by class, as DeepCore (arXiv 2204.08499) does.
2. It begins with the image nearest to the mean of the class; the paper begins with images labelled before, DeepCore
   with one drawn at random.
3. Features are those of state 0, of a network trained on real images as briefly as the study says, not to the end.
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
class KCenter(Picked):
    """Every step adds argmax_i min_s |h_i - h_s| over the features h of the class and the picked s."""

    def __call__(self, real: LabelledImages, count: int, seed: int, guide: Guide) -> Int64[Tensor, "k t"]:  # noqa: ARG002
        features = guide.features
        rows = [members[_spread(features[members], count)] for members in members_by_class(real, count)]
        return torch.stack(rows)


def _spread(features: Float64[Tensor, "n d"], count: int) -> list[int]:
    lengths = features.square().sum(1)
    picked = [int((lengths - features @ (2 * features.mean(0))).argmin())]
    nearest = torch.full((len(features),), torch.inf, dtype=torch.float64)
    while len(picked) < count:
        # |h - s|^2, written so that no copy of the features is made.
        distances = lengths - features @ (2 * features[picked[-1]]) + lengths[picked[-1]]
        nearest = torch.minimum(nearest, distances)
        # An image that equals a picked one is at distance 0, but for rounding.
        nearest[picked] = -torch.inf
        picked.append(int(nearest.argmax()))
    return picked
