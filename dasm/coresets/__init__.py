"""Coresets: baselines of real images, one file each."""

from abc import ABC, abstractmethod

from jaxtyping import Int64
from torch import Tensor

from dasm.types import LabelledImages


class Coreset(ABC):
    """A rule that picks real images."""

    @abstractmethod
    def tiles(self, factor: int) -> int:
        """Return the factor with which the picked images are stored: 1, or the study's `factor` for mosaics."""

    @abstractmethod
    def __call__(self, real: LabelledImages, count: int, seed: int) -> Int64[Tensor, "k t"]:
        """Pick `count` real images of every class, most wanted first: every prefix is a coreset too.

        Args:
            real: the real training set.
            count: images per class.
            seed: root seed.

        Raises:
            ConfigError: a class holds fewer images.
        """
