"""How hard every real image is for networks trained on the segments so far: a table with one row per image."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dasm.errors import ConfigError, require
from dasm.networks import Classifier, Network
from dasm.plugins import name_of
from dasm.readings import Reading
from dasm.scores import Score, cross_entropy
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Difficulty:
    """Scores of the real set; higher is harder.

    Attributes:
        score: mean over the evaluators.
        spread: standard deviation over the evaluators (0 for a single one).
        right: share of the evaluators, in [0, 1], whose trained network classifies the image correctly.
        labels: class of each image.
        among: whom an image is ranked among: those of its own class, as everybody in the field does, or all (A5).
    """

    score: Float[Tensor, " n"]
    spread: Float[Tensor, " n"]
    right: Float[Tensor, " n"]
    labels: Int64[Tensor, " n"]
    among: Literal["class", "all"] = "class"

    @cached_property
    def rank(self) -> Float[Tensor, " n"]:
        """Rank fraction u among the images of `among`, in [0, 1); 0 is the easiest, ties go by position."""
        return rank_fraction(self.score, self.labels if self.among == "class" else torch.zeros_like(self.labels))


def rank_fraction(score: Float[Tensor, " n"], labels: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return each image's ascending rank inside its class, divided by the size of the class."""
    order = torch.argsort(score, stable=True)
    order = order[torch.argsort(labels[order], stable=True)]  # class by class, the easiest of each first
    sizes = labels.bincount()
    first, own = sizes.cumsum(0) - sizes, labels[order]
    rank = torch.empty(len(score), dtype=torch.float64)
    rank[order] = (torch.arange(len(score)) - first[own]).double() / sizes[own]
    return rank


def measure(
    real: LabelledImages,
    evaluators: Sequence[Sequence[Classifier]],
    score: Score,
    reference: Sequence[Classifier] = (),
) -> Difficulty:
    """Score every real image.

    Args:
        real: n images, un-augmented.
        evaluators: for each of j networks, its snapshots along training, the trained one last.
        score: what hard means.
        reference: networks trained on real images (those of state 0), for scores that compare with them.

    Returns:
        The difficulty, on the CPU, in data order.

    Raises:
        ConfigError: the score needs more snapshots than there are, or returns anything but a number per image.
    """
    references = [Reading(network, real) for network in reference]
    readings = ([Reading(network, real) for network in snapshots] for snapshots in evaluators)
    return judged(real, readings, score, references)


def judged(
    real: LabelledImages,
    readings: Iterable[Sequence[Reading]],
    score: Score,
    references: Sequence[Reading] = (),
) -> Difficulty:
    """Score every real image by what networks say of it.

    Args:
        real: n images, un-augmented.
        readings: for each of j networks, what its snapshots say, the trained one last; one network's at a time is held.
        score: what hard means.
        references: what networks trained on real images say, for scores that compare with them.

    Returns:
        The difficulty, on the CPU, in data order.

    Raises:
        ConfigError: the score needs more snapshots than there are, or returns anything but a number per image.
    """
    scores, right = [], []
    for said in readings:
        check_snapshots(score, len(said))
        scores.append(score(real, said, references).cpu())
        whose, found = f"score {name_of(score)}: must return a finite number", scores[-1]
        require(found.shape == (len(real),), f"{whose} for each of {len(real)} images", [*found.shape])
        wrong = int((~found.isfinite()).sum())
        if wrong:
            raise ConfigError(f"{whose} for every image, got {wrong} others")
        right.append(_right(said[-1], real))
    return _over_evaluators(scores, right, real)


def loss(real: LabelledImages, networks: Sequence[Classifier]) -> Difficulty:
    """Return how hard images are for trained networks: their cross-entropy, whichever score the arms go by."""
    readings = [Reading(network, real) for network in networks]
    scores = [cross_entropy(reading, real.labels).cpu() for reading in readings]
    return _over_evaluators(scores, [_right(reading, real) for reading in readings], real)


def check_snapshots(score: Score, snapshots: int) -> None:
    """Refuse a score that looks back over more snapshots than there are."""
    name = name_of(score)
    rule = f"snapshots must be >= {score.snapshots_needed} for the score {name!r}"
    require(snapshots >= score.snapshots_needed, rule, snapshots)


def check_network(score: Score, network: Network) -> None:
    """Refuse a score that asks convolutions where a network has none."""
    name = name_of(score)
    rule = f"trainer.network must have convolutions for the score {name!r}"
    require(network.convolves or not score.needs_convolutions, rule, name_of(network))


def _right(reading: Reading, real: LabelledImages) -> Tensor:
    return reading.logits.argmax(1).eq(real.labels).cpu()


def _over_evaluators(scores: Sequence[Tensor], right: Sequence[Tensor], real: LabelledImages) -> Difficulty:
    every = torch.stack(list(scores))
    return Difficulty(
        score=every.mean(0),
        spread=every.std(0, correction=0),
        right=torch.stack(list(right)).float().mean(0),
        labels=real.labels.cpu(),
    )
