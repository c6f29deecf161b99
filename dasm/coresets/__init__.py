"""Coresets: baselines of real images, one file each."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from dasm import rng
from dasm.difficulty import check_snapshots
from dasm.initial import class_members
from dasm.readings import Reading
from dasm.scores import Score
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

    @property
    def features(self) -> Float64[Tensor, "n d"]:
        """Features of every real image in the first network, once trained; on the CPU in double precision."""
        return self.readings[0][-1].features.cpu().double()

    def score(self, score: Score, real: LabelledImages) -> Float[Tensor, " n"]:
        """Return a score of every real image, the mean over the networks, on the CPU; higher is harder.

        Raises:
            ConfigError: the score needs more snapshots than there are.
        """
        for snapshots in self.readings:
            check_snapshots(score, len(snapshots))
        return torch.stack([score(real, snapshots, ()).cpu() for snapshots in self.readings]).mean(0)


class Coreset(ABC):
    """A rule that picks real images."""

    #: Whether the first t picks are what the rule picks if asked for t images. Where they are not, the prefixes of a
    #: larger coreset are coresets all the same, but another run is needed for what the rule itself has to say there.
    nested: ClassVar[bool] = True

    @property
    def snapshots_needed(self) -> int:
        """Snapshots along each training that the rule needs at least."""
        return 1

    def tiles(self, factor: int) -> int:  # noqa: ARG002
        """Return the factor with which the picked images are stored: 1, or the study's `factor` for mosaics."""
        return 1

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


def members_by_class(real: LabelledImages, count: int) -> list[Int64[Tensor, "..."]]:
    """Return the indices of the images of each class.

    Raises:
        ConfigError: a class holds fewer than `count`.
    """
    return [class_members(real, label, count) for label in range(real.num_classes)]


def hardest_first(
    real: LabelledImages, score: Float[Tensor, " n"], count: int, stream: int
) -> list[Int64[Tensor, "..."]]:
    """Return the images of each class from the highest score down.

    Args:
        real: n real images.
        score: higher is harder.
        count: images that every class has to have.
        stream: of the order among equal scores, of which counts have many.

    Raises:
        ConfigError: a class holds fewer.
    """
    orders = []
    for label, members in enumerate(members_by_class(real, count)):
        shuffled = members[torch.randperm(len(members), generator=rng.generator(stream, "ties", label))]
        orders.append(shuffled[torch.argsort(score[shuffled], descending=True, stable=True)])
    return orders
