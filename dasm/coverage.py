"""Coverage (Naeem et al., ICML 2020, arXiv 2002.09797) that compares sets of different sizes.

A real image is covered if an image of the set is within its radius, the distance to its k-th nearest other real image.
Differences from the paper, all made so that real images drawn at random cover 1 - 1/e = 63 % of the others on average,
however many they are:

1. k falls as the set grows, and is the mean of two neighbouring whole numbers where none is right. Of n real images, m
   draws from the same distribution miss the k nearest of one with probability (n-1)/(n+m-1) * (n-2)/(n+m-2) * ..., k
   factors.
2. A real image that the set holds is left out: it would cover itself, and does not say what else is covered.
3. Of a set of more than 1.7 n images, evenly spaced ones are looked at, because k cannot be less than one.
"""

from math import e
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

# Features of one image differ in their last bits by the batch it is in; those of two images by far more than this share
# of a usual distance from the mean.
_SAME = 1e-5


@final
class Coverage:
    """The real images of one class as a network sees them."""

    def __init__(self, real: Float[Tensor, "n d"]) -> None:
        """Take the features of n real images."""
        self._real = real
        #: Distance up to which two images are one and the same.
        self.same = _SAME * float((real - real.mean(0)).norm(dim=1).mean())
        self._radii: dict[int, tuple[Tensor, Tensor]] = {}

    def of(self, apart: Float[Tensor, "n m"]) -> Float[Tensor, " n"]:
        """Return for every real image how far it is covered, in [0, 1]; not a number where the set holds it.

        Args:
            apart: `distances` of the real images from the set's images of this class, at least one of these.
        """
        others = apart.amin(1) > self.same
        count = int(others.sum())
        covered = torch.full((len(self._real),), torch.nan, dtype=torch.float64)
        if count == 1:
            covered[others] = 1.0  # a class of one image is covered by any other
        elif count:
            most = max(1, int((e - 1) * (count - 1)))
            if apart.shape[1] > most:
                apart = apart[:, torch.arange(most) * apart.shape[1] // most]
            nearest = apart[others].amin(1)
            fewer, share = neighbours(count, apart.shape[1])
            nearer, further = (
                _radii(self._real[others], fewer) if count < len(self._real) else self._radii_of_all(fewer)
            )
            covered[others] = share * (nearest <= further).double() + (1 - share) * (nearest <= nearer).double()
        return covered

    def _radii_of_all(self, nearest: int) -> tuple[Tensor, Tensor]:
        if nearest not in self._radii:
            self._radii[nearest] = _radii(self._real, nearest)
        return self._radii[nearest]


def neighbours(real: int, images: int) -> tuple[int, float]:
    """Return k and the share of k + 1 (the rest is that of k) at which so many images cover 63 % of the real ones.

    Args:
        real: of the class, >= 2.
        images: drawn from the same distribution, >= 1.
    """
    missed, nearest = 1.0, 0
    while True:
        further = missed * (real - 1 - nearest) / (real + images - 1 - nearest)
        if further <= 1 / e or nearest == real - 2:
            return nearest, min(1.0, (missed - 1 / e) / (missed - further))
        missed, nearest = further, nearest + 1


def distances(one: Float[Tensor, "m d"], other: Float[Tensor, "n d"]) -> Float[Tensor, "m n"]:
    """Return the distance of every pair, on the CPU, in 64 bits because `cdist` takes differences of large squares."""
    return torch.cdist(one.double(), other.double()).cpu()


def _radii(real: Float[Tensor, "n d"], nearest: int) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    # To the neighbours number `nearest` and one more. An image is its own neighbour number 0: no one else.
    apart = distances(real, real).fill_diagonal_(-torch.inf)
    return apart.kthvalue(nearest + 1, dim=1).values, apart.kthvalue(nearest + 2, dim=1).values
