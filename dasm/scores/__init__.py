"""Difficulty scores: one file each. Higher is harder, without exception."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from dasm.readings import Reading
from dasm.types import LabelledImages


class Score(ABC):
    """What makes an image hard, given one training run."""

    #: Snapshots along the training that the score needs at least.
    snapshots_needed: ClassVar[int] = 1

    @abstractmethod
    def __call__(
        self, real: LabelledImages, snapshots: Sequence[Reading], reference: Sequence[Reading]
    ) -> Float[Tensor, " n"]:
        """Return one score per real image, higher is harder.

        Args:
            real: n images, scored un-augmented; an image's score does not depend on its company.
            snapshots: what copies along one training run say, the trained network last; at least one.
            reference: what the networks trained on real images (state 0) say; empty while they are the ones scored.
        """
