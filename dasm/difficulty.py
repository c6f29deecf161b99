"""How hard every real image is for networks trained on the segments so far: a table with one row per image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dasm.networks import Classifier, predict
from dasm.scores import Score
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
    """

    score: Float[Tensor, " n"]
    spread: Float[Tensor, " n"]
    right: Float[Tensor, " n"]
    labels: Int64[Tensor, " n"]

    @property
    def rank(self) -> Float[Tensor, " n"]:
        """Rank fraction u inside the image's own class, in [0, 1); 0 is the easiest, ties go by position."""
        return rank_fraction(self.score, self.labels)


def rank_fraction(score: Float[Tensor, " n"], labels: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return each image's ascending rank inside its class, divided by the size of the class."""
    rank = torch.zeros(len(score), dtype=torch.float64)
    for label in labels.unique().tolist():
        members = torch.nonzero(labels == label).flatten()
        order = torch.argsort(score[members], stable=True)
        rank[members[order]] = torch.arange(len(members), dtype=torch.float64) / len(members)
    return rank


def measure(real: LabelledImages, evaluators: Sequence[Sequence[Classifier]], score: Score) -> Difficulty:
    """Score every real image.

    Args:
        real: n images, un-augmented.
        evaluators: for each of j networks, its snapshots along training, the trained one last.
        score: what hard means.

    Returns:
        The difficulty, on the CPU, in data order.
    """
    scores = torch.stack([score(real, snapshots).cpu() for snapshots in evaluators])
    right = torch.stack([predict(s[-1], real).argmax(1).eq(real.labels).cpu() for s in evaluators])
    return Difficulty(
        score=scores.mean(0),
        spread=scores.std(0, correction=0),
        right=right.float().mean(0),
        labels=real.labels.cpu(),
    )
