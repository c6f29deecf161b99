"""Difficulty scores: one file each. Higher is harder, without exception."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from dasm.networks import Classifier
from dasm.types import LabelledImages


class Score(ABC):
    """What makes an image hard, given one training run."""

    @abstractmethod
    def __call__(self, real: LabelledImages, snapshots: Sequence[Classifier]) -> Float[Tensor, " n"]:
        """Return one score per real image, higher is harder.

        Args:
            real: n images, scored un-augmented; an image's score does not depend on its company.
            snapshots: copies along one training run, the trained network last; at least one.
        """
