"""What a set holds of the real data, as networks see it: how much, how different, how hard; no accuracy is needed.

Coverage is that of Naeem et al. with a neighbourhood that depends on the size of the set (`dasm.coverage`), diversity
the Vendi score of order 2 (Pasarkar & Dieng, 2023, arXiv 2310.12952) with the cosine kernel. All is measured class by
class in the features of one network trained on real images, and averaged over the classes. Difference from the paper:
features are centred at the class, so that images which have nothing in common but their class are orthogonal.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dasm import rng
from dasm.coverage import Coverage, distances
from dasm.formation import mosaic
from dasm.networks import Classifier, embed, finite
from dasm.types import LabelledImages, Segment

#: Parts of each class by difficulty, easiest first.
PARTS = ("easy", "middle", "hard")

# Real images of a class that are compared; with so many a share is known to 1.6 points (one standard deviation).
_MOST = 1000
_NEIGHBOURS = 5


@final
@dataclass(frozen=True, kw_only=True)
class SegmentDiagnosis:
    """What one segment adds.

    Attributes:
        images: training images per class.
        difficulty: mean rank fraction in [0, 1) of the five real images of the class that are nearest to each of its
            training images, other than the image itself; to be compared with that of real images drawn at random, which
            is below 0.5 where easy images lie closer together. Not a number where there is no other real image.
        similarity: mean cosine of two of its training images of a class; 0 as of real images, 1 where all are alike;
            not a number for a single one.
        overlap: mean cosine of its training images with those of the segments before it; not a number for the first.
        moved: as `moved` says; not a number before it is asked.
    """

    images: int
    difficulty: float
    similarity: float
    overlap: float
    moved: float = float("nan")


@final
@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What a set holds.

    Attributes:
        images: training images per class.
        coverage: share of the real images of each of `PARTS`, in [0, 1], that have an image of the set nearby; 1 where
            the set holds all of them.
        diversity: effective number of different training images of a class, from 1 to their number.
        segments: what each of its segments adds.
    """

    images: int
    coverage: tuple[float, float, float]
    diversity: float
    segments: tuple[SegmentDiagnosis, ...]


#: Training images as one network sees them: features (m d), class by class.
Seen = list[Tensor]


@final
class Landmarks:
    """Real images of every class as one network sees them, which sets are compared with."""

    def __init__(self, network: Classifier, real: LabelledImages, rank: Float[Tensor, " n"], seed: int) -> None:
        """Embed at most a thousand real images of every class.

        Args:
            network: trained on real images; whoever compares sets takes the same one for all of them.
            real: n real images.
            rank: their within-class rank fractions, 0 the easiest.
            seed: root seed of the choice.

        Raises:
            ConfigError: the network has diverged.
        """
        self._real: list[Tensor] = []
        self._rank: list[Tensor] = []
        self._network = network
        for label in range(real.num_classes):
            members = real.members(label).cpu()
            order = torch.randperm(len(members), generator=rng.generator(seed, "landmarks", label))
            members = members[order[:_MOST].sort().values]
            features = _embedded(network, real.subset(members.to(real.labels.device)))
            self._real.append(features)
            self._rank.append(rank[members])
        self._covers = [Coverage(features) for features in self._real]

    def see(self, images: LabelledImages) -> Seen:
        """Return the features of training images, un-augmented, on their device."""
        features, labels = _embedded(self._network, images), images.labels
        return [features[labels == label] for label in range(images.num_classes)]

    def diagnose(self, segments: Sequence[Seen]) -> Diagnosis:
        """Say what a set holds, given its segments as `see` saw them, in order; each holds every class."""
        classes = range(len(self._real))
        whole = [torch.cat([segment[label] for segment in segments]) for label in classes]
        apart = [distances(self._real[label], whole[label]) for label in classes]
        covered = torch.stack([self._coverage(label, apart[label]) for label in classes])
        sizes = [[len(segment[label]) for segment in segments] for label in classes]
        by_segment = zip(*(apart[label].split(sizes[label], dim=1) for label in classes), strict=True)
        found, before = list[SegmentDiagnosis](), [images[:0] for images in whole]
        for segment, away in zip(segments, by_segment, strict=True):
            sides = [(self._centred(c, segment[c]), self._centred(c, before[c])) for c in classes]
            found.append(
                SegmentDiagnosis(
                    images=max(map(len, segment)),
                    difficulty=_mean([self._difficulty(c, away[c]) for c in classes]),
                    similarity=_mean([_similarity(own) for own, _ in sides]),
                    overlap=_mean([(own @ earlier.T).mean() for own, earlier in sides]),
                )
            )
            before = [torch.cat([earlier, segment[c]]) for c, earlier in enumerate(before)]
        easy, middle, hard = covered.nanmean(0).tolist()
        return Diagnosis(
            images=max(map(len, whole)),
            coverage=(easy, middle, hard),
            diversity=_mean([_diversity(self._centred(c, whole[c])) for c in classes]),
            segments=tuple(found),
        )

    def _coverage(self, label: int, apart: Float[Tensor, "n m"]) -> Float[Tensor, " p"]:
        covered, part = self._covers[label].of(apart), (self._rank[label] * len(PARTS)).long()
        shares = [covered[part == number] for number in range(len(PARTS))]
        held = torch.ones((), dtype=torch.float64)
        return torch.stack([held if len(s) and s.isnan().all() else s.nanmean() for s in shares])

    def _difficulty(self, label: int, apart: Float[Tensor, "n m"]) -> Tensor:
        # A real image that the set holds is its own neighbour, and would say of itself where it lies.
        others = apart.masked_fill(apart <= self._covers[label].same, torch.inf)
        near = others.topk(min(_NEIGHBOURS, len(others)), dim=0, largest=False)
        return self._rank[label][near.indices].masked_fill(near.values.isinf(), torch.nan).nanmean()

    def _centred(self, label: int, images: Tensor) -> Float[Tensor, "m d"]:
        return F.normalize((images - self._real[label].mean(0)).double(), dim=1)


def mean(diagnoses: Sequence[Diagnosis]) -> Diagnosis:
    """Return the mean of what several networks say of one set."""

    def averaged(segments: Sequence[SegmentDiagnosis]) -> SegmentDiagnosis:
        names = ("difficulty", "similarity", "overlap")
        means = {name: sum(getattr(segment, name) for segment in segments) / len(segments) for name in names}
        return replace(segments[0], **means)

    easy, middle, hard = (sum(shares) / len(diagnoses) for shares in zip(*(d.coverage for d in diagnoses), strict=True))
    return replace(
        diagnoses[0],
        coverage=(easy, middle, hard),
        diversity=sum(found.diversity for found in diagnoses) / len(diagnoses),
        segments=tuple(averaged(parts) for parts in zip(*(found.segments for found in diagnoses), strict=True)),
    )


def moved(segment: Segment, real: LabelledImages) -> float:
    """Return how far pixels went: their root mean square distance from the tiles they started from, in levels of 255.

    Args:
        segment: its stored images are looked at; 0 where they are the tiles still, as those of coresets.
        real: the training images that it started from.

    Returns:
        Not a number where it started from none that are known.
    """
    if bool((segment.sources < 0).any()):
        return float("nan")
    squares = torch.zeros((), dtype=torch.float64)
    for label in range(real.num_classes):
        mine = segment.labels == label
        tiles = segment.sources[mine].T.flatten().to(real.labels.device)
        start = (255 * mosaic(real.pixels(tiles), segment.factor)).round().cpu()
        squares += (segment.images[mine] - start).double().square().sum()
    return float((squares / segment.images.numel()).sqrt())


def _embedded(network: Classifier, images: LabelledImages) -> Float[Tensor, "m d"]:
    return finite(embed(network, images), "features of a network that has learnt real images")


def _mean(values: Sequence[Tensor]) -> float:
    return float(torch.stack([value.double() for value in values]).nanmean())


def _similarity(images: Float[Tensor, "m d"]) -> Tensor:
    pairs = len(images) * (len(images) - 1)
    gram = images @ images.T
    return (gram.sum() - gram.diagonal().sum()) / pairs if pairs else gram.new_tensor(torch.nan)


def _diversity(images: Float[Tensor, "m d"]) -> Tensor:
    return len(images) ** 2 / (images @ images.T).square().sum()
