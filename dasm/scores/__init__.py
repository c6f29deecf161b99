"""Difficulty scores: one file each. Higher is harder, without exception."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from dasm.readings import Reading
from dasm.types import LabelledImages


class Score(ABC):
    """What makes an image hard, given one training run."""

    #: Snapshots along the training that the score needs at least.
    snapshots_needed: ClassVar[int] = 1

    #: Whether it looks at the label: then a wrong answer has to be harder than a right one. False for those that ask
    #: only how sure the network is.
    knows_the_label: ClassVar[bool] = True

    #: Whether an image's score depends on which others are scored with it.
    looks_around: ClassVar[bool] = False

    #: Whether it asks what convolutions say of an image, so that networks without any cannot be asked.
    needs_convolutions: ClassVar[bool] = False

    def files(self) -> Sequence[str]:
        """Return the files that the scores are read from, none if networks say them."""
        return ()

    def check(self, real: LabelledImages) -> None:  # noqa: B027 - networks can say what they like of any set
        """Refuse files that do not go with the real training set, long before anybody asks for scores.

        Raises:
            ConfigError: a file is missing, or does not say of every image how hard it is.
        """

    @abstractmethod
    def __call__(
        self, real: LabelledImages, snapshots: Sequence[Reading], reference: Sequence[Reading]
    ) -> Float[Tensor, " n"]:
        """Return one score per real image, higher is harder.

        Args:
            real: n images, scored un-augmented; an image's score does not depend on its company unless it
                `looks_around`.
            snapshots: what copies along one training run say, the trained network last; at least one.
            reference: what the networks trained on real images (state 0) say; empty while they are the ones scored.
        """


def prediction_error(reading: Reading, labels: Int64[Tensor, " n"]) -> Float[Tensor, "n k"]:
    """Return softmax probabilities minus the one-hot label, the gradient of the cross-entropy by the logits."""
    probabilities = reading.logits.softmax(1)
    return probabilities - F.one_hot(labels, probabilities.shape[1])


def logit_margin(reading: Reading, labels: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return by how much the logit of the own class leads the largest other one; negative where the answer is wrong."""
    own = labels[:, None]
    others = reading.logits.scatter(1, own, -torch.inf)
    return reading.logits.gather(1, own).squeeze(1) - others.amax(1)


def cross_entropy(reading: Reading, labels: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return minus the log-probability of the own class, in nats."""
    return F.cross_entropy(reading.logits, labels, reduction="none")
