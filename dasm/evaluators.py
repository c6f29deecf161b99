"""The networks that say what is still hard: trained on all segments so far, or at the start briefly on real images."""

from dataclasses import dataclass
from typing import final

from dasm import rng
from dasm.errors import require
from dasm.networks import Classifier
from dasm.train import Trainer
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class Evaluators:
    """J networks, trained afresh at every state.

    Attributes:
        trainer: architecture and recipe.
        networks: J >= 1; scores are averaged over them. One network's loss is mostly noise, 3 are our default (A3).
        steps: optimiser steps on the decoded segments so far.
        teacher_steps: optimiser steps on the real images at state 0; few, so that hard images are still hard.
        snapshots: copies kept along each training, the trained network last; scores that look back need several.
    """

    trainer: Trainer
    networks: int
    steps: int
    teacher_steps: int
    snapshots: int = 1

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require(self.networks >= 1, "networks must be >= 1", self.networks)
        require(self.snapshots >= 1, "snapshots must be >= 1", self.snapshots)
        require(self.steps >= self.snapshots, "steps must be >= snapshots", self.steps)
        require(self.teacher_steps >= self.snapshots, "teacher_steps must be >= snapshots", self.teacher_steps)

    def train(self, data: LabelledImages, state: int, seed: int) -> list[list[Classifier]]:
        """Train the evaluators of one state.

        Args:
            data: the decoded segments so far; at state 0 the real images.
            state: number of segments so far.
            seed: root seed; every evaluator of every state has a stream of its own.

        Returns:
            For each network its snapshots, the trained one last.
        """
        steps = self.teacher_steps if state == 0 else self.steps
        streams = [rng.derive(seed, "evaluator", state, number) for number in range(self.networks)]
        return [self.trainer.train(data, steps, stream, self.snapshots) for stream in streams]
