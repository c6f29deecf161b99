"""Greedy k-center: always the image farthest from those picked (Sener & Savarese, arXiv 1708.00489).

Deviations from the paper:
1. Class by class, as DeepCore (arXiv 2204.08499) does.
2. It begins with the image nearest to the mean of the class; the paper begins with images labelled before, DeepCore
   with one drawn at random.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from dasm.coresets import Coreset, Guide, members_by_class
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class KCenter(Coreset):
    """Every step adds argmax_i min_s |h_i - h_s| over the features h of the class and the picked s."""

    def tiles(self, factor: int) -> int:  # noqa: ARG002
        return 1

    def __call__(self, real: LabelledImages, count: int, seed: int, guide: Guide) -> Int64[Tensor, "k t"]:  # noqa: ARG002
        features = guide.features
        rows = [members[_spread(features[members], count)] for members in members_by_class(real, count)]
        return torch.stack(rows)


def _spread(features: Float64[Tensor, "n d"], count: int) -> list[int]:
    picked = [int((features - features.mean(0)).norm(dim=1).argmin())]
    nearest = torch.full((len(features),), torch.inf, dtype=torch.float64)
    while len(picked) < count:
        nearest = torch.minimum(nearest, (features - features[picked[-1]]).norm(dim=1))
        # Below the distance 0 of an image that equals a picked one.
        nearest[picked] = -1.0
        picked.append(int(nearest.argmax()))
    return picked
