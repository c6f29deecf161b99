"""Coresets: baselines of real images, one file each."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from jaxtyping import Int64
from torch import Tensor

from dasm.readings import Reading
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Guide:
    """What a coreset may go by besides the pixels.

    Attributes:
        readings: for each network of state 0, trained on real images, what its snapshots say; the trained one last.
        judge: trains a network on picks (k t) and returns its accuracy on the *validation* split, in [0, 1].
    """

    readings: Sequence[Sequence[Reading]]
    judge: Callable[[Int64[Tensor, "k t"]], float]


class Coreset(ABC):
    """A rule that picks real images."""

    #: Snapshots along each training that the rule needs at least.
    snapshots_needed: ClassVar[int] = 1

    @abstractmethod
    def tiles(self, factor: int) -> int:
        """Return the factor with which the picked images are stored: 1, or the study's `factor` for mosaics."""

    @abstractmethod
    def __call__(self, real: LabelledImages, count: int, seed: int, guide: Guide) -> Int64[Tensor, "k t"]:
        """Pick `count` real images of every class, most wanted first: every prefix is a coreset too.

        Args:
            real: the real training set.
            count: images per class.
            seed: root seed.
            guide: networks that know the real set; what is not asked for is not computed.

        Raises:
            ConfigError: a class holds fewer images.
        """
