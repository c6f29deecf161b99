"""The networks of gradient matching: drawn afresh every outer iteration, trained on real images between pixel updates.

They start fresh (IDC, arXiv 2205.14959) or as copies of a network that has learnt the frozen segments (A12; SeqMatch,
arXiv 2311.01570).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import final

from torch import Tensor

from dasm import rng
from dasm.networks import Classifier
from dasm.objective_parts.sampler import Sampler
from dasm.objective_parts.shared import SharedTransforms
from dasm.objective_parts.subsets import Subsets
from dasm.train import Learner, Trainer
from dasm.types import LabelledImages


@final
class PrefixStart:
    """Networks that know the frozen segments; a checkpoint needs none of them, each depends on its number alone."""

    def __init__(self, prefix: LabelledImages, trainer: Trainer, steps: int, period: int, stream: int) -> None:
        self._prefix = prefix
        # One of its own, so that on a GPU its recorded steps do not displace those on the real images.
        self._trainer = replace(trainer)
        self._steps = steps
        self._period = period
        self._stream = rng.derive(stream, "prefix")
        self._last: tuple[int, Classifier] | None = None

    def weights(self, outer: int) -> dict[str, Tensor]:
        """Return what the network of this outer iteration starts from."""
        number = outer // self._period
        if self._last is None or self._last[0] != number:
            stream = rng.derive(self._stream, number)
            self._last = number, self._trainer.train(self._prefix, self._steps, stream)[-1]
        return self._last[1].state_dict()


@final
class Redrawn:
    """The matching network: redrawn, then trained on all real images between pixel updates."""

    def __init__(
        self,
        *,
        real: LabelledImages,
        trainer: Trainer,
        stream: int,
        steps: int,
        early_steps: int,
        sampler: Sampler,
        shared: SharedTransforms,
        learnt: PrefixStart | None,
        subsets: Subsets | None,
    ) -> None:
        self.sampler = sampler
        self.shared = shared
        self.subsets = subsets
        self._real = real
        self._trainer = trainer
        self._stream = stream
        self._steps = steps
        self._early_steps = early_steps
        self._learnt = learnt
        self.learner: Learner = trainer.start(real, rng.derive(stream, "network", 0))

    def renew(self, outer: int) -> None:
        """Choose this outer iteration's prefix, draw its network, and let it learn for as long as it is to be old."""
        if self.subsets is not None:
            self.subsets.choose()
        self.learner = self._trainer.start(self._real, rng.derive(self._stream, "network", outer))
        if self._learnt is not None:
            self.learner.network.load_state_dict(self._learnt.weights(outer))
        if self._early_steps:
            # A run through the real images of its own: the one below goes on where it was.
            stream = rng.derive(self._stream, "early", outer)
            self.learner.steps(self._real, 0, self._early_steps, stream, self._trainer.recipe.learning_rate)

    def learn(self, iteration: int) -> None:
        """Take the steps on real images that follow this pixel update."""
        # The run through the real images goes on across networks, as IDC's persistent loader does.
        stream, rate = rng.derive(self._stream, "learning"), self._trainer.recipe.learning_rate
        self.learner.steps(self._real, iteration * self._steps, self._steps, stream, rate)

    def tensors(self) -> dict[str, Tensor]:
        """Return weights, momenta and what sampler and subsets remember."""
        subsets = {} if self.subsets is None else self.subsets.tensors()
        return self.learner.tensors() | self.sampler.tensors() | subsets

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` returned."""
        device = self._real.labels.device
        self.learner.restore(tensors)
        self.sampler.restore(tensors, device)
        if self.subsets is not None:
            self.subsets.restore(tensors, device)
