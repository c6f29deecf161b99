"""A network that learns from the synthetic set while its pixels move, as in DC (arXiv 2006.05929) and its heirs."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor

from dasm import rng
from dasm.networks import Classifier
from dasm.objective_parts.batches import SyntheticBatches
from dasm.train import Learner, Trainer
from dasm.types import LabelledImages


@final
class Student:
    """One network after the other, each learning from the frozen segments and the one being distilled."""

    def __init__(self, *, real: LabelledImages, prefix: LabelledImages | None, trainer: Trainer, stream: int) -> None:
        """Draw network 0.

        Args:
            real: whose kind the synthetic set is of; nothing is learned from it.
            prefix: decoded training images of the frozen segments.
            trainer: of the networks.
            stream: of initialisations and learning.
        """
        self._real = real
        self._prefix = prefix
        self._trainer = trainer
        self._stream = stream
        self._held: LabelledImages | None = None
        self.renew(0)

    @property
    def network(self) -> Classifier:
        """The network as it is now."""
        return self._learner.network

    def renew(self, number: int) -> None:
        """Draw network `number`."""
        self.number = number
        self._epochs = 0
        self._learner: Learner = self._trainer.start(self._real, rng.derive(self._stream, "network", number))

    def learn(self, synthetic: SyntheticBatches, epochs: int) -> None:
        """Learn from the synthetic set as it stands, at the recipe's first learning rate."""
        data, recipe = self._shown(synthetic), self._trainer.recipe
        stream, per_epoch = rng.derive(self._stream, "learning", self.number), -(-len(data) // recipe.batch_size)
        first, count = self._epochs * per_epoch, epochs * per_epoch
        self._learner.steps(data, first, count, stream, recipe.learning_rate)
        self._epochs += epochs

    def _shown(self, synthetic: SyntheticBatches) -> LabelledImages:
        # One object throughout, for which a GPU records its steps once.
        now = synthetic.whole(self._real, self._prefix)
        if self._held is None or self._held.images.shape != now.images.shape:
            self._held = now
        else:
            self._held.images.copy_(now.images)
        return self._held

    def tensors(self) -> dict[str, Tensor]:
        """Return weights, momentum and counts by name, for a checkpoint."""
        return self._learner.tensors() | {"student": torch.tensor([self.number, self._epochs])}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` returned."""
        self._learner.restore(tensors)
        self.number, self._epochs = (int(count) for count in tensors["student"])
