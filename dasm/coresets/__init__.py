"""Coresets: sets that are not distilled here, one file each. All but a given one are real images, picked by a rule."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from dasm import formation, rng
from dasm.difficulty import Difficulty, judged
from dasm.formation import decoded_count
from dasm.initial import class_members
from dasm.readings import Reading
from dasm.scores import Score
from dasm.segments import freeze, stored_segment
from dasm.types import LabelledImages, Segment


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
        return self.difficulty(score, real).score

    def difficulty(self, score: Score, real: LabelledImages) -> Difficulty:
        """Return how hard every real image is: what windows go by at state 0.

        Raises:
            ConfigError: the score needs more snapshots than there are.
        """
        return judged(real, self.readings, score)


class Coreset(ABC):
    """A set that is not distilled here, in the same segments as the distilled ones."""

    #: Whether the first t images of a class are the set that there would be if t were asked for. Where they are not,
    #: the prefixes are sets all the same, but what the rule itself has to say of their size is another one.
    nested: ClassVar[bool] = True

    @property
    def asked(self) -> Score | None:
        """The score that says which images are hard; None where that makes no difference."""
        return None

    @property
    def snapshots_needed(self) -> int:
        """Snapshots along each training that the set needs at least."""
        return 1 if self.asked is None else self.asked.snapshots_needed

    def files(self) -> Sequence[str]:
        """Return the files that the set is read from, or that say which images are hard."""
        return () if self.asked is None else self.asked.files()

    def check(self, real: LabelledImages, sizes: Sequence[int]) -> None:  # noqa: ARG002
        """Refuse files that do not go with a study, long before `segments` is asked for them.

        Args:
            real: the real training set.
            sizes: stored images per class of each segment.

        Raises:
            ConfigError: a file is missing, or is not what `segments` can read.
        """
        if self.asked is not None:
            self.asked.check(real)

    @abstractmethod
    def segments(
        self, real: LabelledImages, sizes: Sequence[int], *, factor: int, seed: int, guide: Guide
    ) -> Iterator[Segment]:
        """Yield the stored segments, on the CPU.

        Args:
            real: the real training set.
            sizes: stored images per class of each segment, >= 1.
            factor: the study's multi-formation factor.
            seed: root seed.
            guide: networks that know the real set; what is not asked for is not computed.

        Raises:
            ConfigError: a class holds fewer images; a file cannot be read.
        """


class Picked(Coreset):
    """A rule that picks real images."""

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

    def segments(
        self, real: LabelledImages, sizes: Sequence[int], *, factor: int, seed: int, guide: Guide
    ) -> Iterator[Segment]:
        factor = self.tiles(factor)
        sources = self(real, decoded_count(sum(sizes), factor), seed, guide)
        taken = 0
        for k, ipc in enumerate(sizes):
            chosen = sources[:, taken : taken + decoded_count(ipc, factor)]
            # By its module: here `mosaic` is the plug-in of that name, once it has been found.
            # Class by class, so that one class at a time is in floating point.
            rows = (real.pixels(row.to(real.labels.device)) for row in chosen)
            images = torch.cat([freeze(formation.mosaic(pixels, factor)).cpu() for pixels in rows])
            made = {"index": k, "factor": factor, "iterations": 0}
            yield stored_segment(images, chosen, lower=0.0, upper=1.0, **made)
            taken += decoded_count(ipc, factor)


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
