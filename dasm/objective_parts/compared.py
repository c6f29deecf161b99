"""What the gradients of a synthetic batch are compared by: their distance from real ones, and how long they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm.objective_parts.classwise import distance


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """A distance between class-wise weight gradients of shape (classes * out, in, height, width), class after class.

    Attributes:
        metric: of the distance.
        classes: how many classes the gradients are of.
        norm_penalty: factor of the Euclidean length of every class's gradient, all weights together, that is added
            (SDC, arXiv 2408.12483): images that networks have learnt to tell push their weights little.
        share: of the new segment in the union with the frozen ones, in (0, 1].
        frozen: gradients of images of the frozen segments, which complete those of the new one; None if there are none.
    """

    metric: Literal["mse", "l1", "cosine"]
    classes: int = 1
    norm_penalty: float = 0.0
    share: float = 1.0
    frozen: Sequence[Tensor] | None = None

    def __call__(self, new: Sequence[Tensor], real: Sequence[Tensor]) -> Float[Tensor, ""]:
        """Return the value for the gradients of the new segment's images, in which it is differentiable."""
        united = self._united(new)
        value = distance(united, real, self.metric)
        return value + self.norm_penalty * self._lengths(united).sum() if self.norm_penalty else value

    def _united(self, new: Sequence[Tensor]) -> Sequence[Tensor]:
        if self.frozen is None:
            return new
        # The gradient of the union's mean loss; nothing is differentiated twice for the frozen images.
        return [self.share * n + (1 - self.share) * f for n, f in zip(new, self.frozen, strict=True)]

    def _lengths(self, gradients: Sequence[Tensor]) -> Float[Tensor, " k"]:
        rows = [gradient.unflatten(0, (self.classes, -1)).flatten(1) for gradient in gradients]
        # Of a length of zero the derivative is zero here; that of a square root is not a number.
        return torch.linalg.vector_norm(torch.cat(rows, 1), dim=1)
