"""Expert trajectories: the weights of networks along their training on real images (MTT, arXiv 2203.11932).

A trajectory objective makes a student on synthetic images travel as an expert travelled on real ones. Window and prefix
make the experts of a segment its own: they learn from the window alone (as PAD, arXiv 2408.03360, filters what its
experts see), and go on from networks trained on the segments so far (as SeqMatch, arXiv 2311.01570). Differences:

1. No ZCA whitening: the images of this project are normalised channel by channel.
2. Augmentation is that of `dasm.augment`, in IDC's order, where DSA's released code applies one operation per batch.
3. SeqMatch starts from networks trained with learned step sizes, stage by stage; ours learn from all segments at once.
4. PAD changes the filter during training; ours is the window of the state, the same in every epoch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from dasm import rng
from dasm.errors import at_least, require, within
from dasm.networks import Classifier, Network
from dasm.train import Recipe, Trainer
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class Experts:
    """How many networks are followed, for how long, and from where.

    Attributes:
        trainer: the architecture has to be that of the matching network. MTT's recipe: SGD with a learning
            rate of 0.01 that stays (`decay_at: []`), momentum 0, weight decay 0, batches of 256, every operation of
            DSA, no CutMix.
        number: experts, in [1, 1e6] (100 in MTT).
        epochs: passes through the window, >= 1 (50 in MTT); the weights are kept after each.
        prefix_steps: optimiser steps on the decoded segments so far, before the first epoch, >= 0; 0 starts from fresh
            networks whatever there is.
        prefix_recipe: of those steps; None takes the trainer's.
    """

    trainer: Trainer
    number: int = 100
    epochs: int = 50
    prefix_steps: int
    prefix_recipe: Recipe | None = None

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        within(self, "[1, 1e6]", "number")
        at_least(self, 1, "epochs")
        at_least(self, 0, "prefix_steps")

    def check(self, epochs: int, network: Network) -> None:
        """Refuse fewer epochs than an objective follows, and another architecture than that of the matching network."""
        require(self.epochs >= epochs, f"experts.epochs must be >= {epochs}", self.epochs)
        same = self.trainer.network == network
        require(same, f"experts.trainer.network must be that of the matching, {network}", self.trainer.network)

    def train(
        self,
        real: LabelledImages,
        weights: Float[Tensor, " n"],
        state: int,
        seed: int,
        prefix: LabelledImages | None = None,
    ) -> Iterator[Float[Tensor, "e p"]]:
        """Yield the trajectories of one state, expert by expert.

        Args:
            real: all real training images.
            weights: of the window. Images of weight 0 are never shown. If the others differ, every epoch shows as many
                images as the window holds, drawn with replacement in proportion to the weights.
            state: number of segments so far; every expert of every state has a stream of its own.
            seed: root seed.
            prefix: decoded training images of the segments so far, or None before there are any.

        Yields:
            The parameters in the order of `parameters()`, on the CPU: row 0 before the first epoch, row e after e.
        """
        # One trainer and one window for all experts: a GPU records their steps once.
        first = Trainer(network=self.trainer.network, recipe=self.prefix_recipe or self.trainer.recipe)
        kept = torch.nonzero(weights.cpu() > 0).flatten()
        window = real if len(kept) == len(real) else real.subset(kept.to(real.labels.device))
        for number in range(self.number):
            stream = rng.derive(seed, "expert", state, number)
            yield self._follow(self._start(first, real, prefix, stream), window, weights.cpu()[kept], stream)

    def _start(self, trainer: Trainer, real: LabelledImages, prefix: LabelledImages | None, stream: int) -> Classifier:
        learner, recipe = trainer.start(real, stream), trainer.recipe
        if prefix is not None:
            for run in recipe.at_one_rate(range(self.prefix_steps), self.prefix_steps):
                rate = recipe.rate(run.start, self.prefix_steps)
                learner.steps(prefix, run.start, len(run), rng.derive(stream, "prefix"), rate)
        return learner.network

    def _follow(
        self, network: Classifier, window: LabelledImages, weights: Float[Tensor, " m"], stream: int
    ) -> Float[Tensor, "e p"]:
        learner, recipe = self.trainer.learner(network), self.trainer.recipe
        per_epoch = -(-len(window) // recipe.batch_size)
        rows = [_flat(network)]
        for epoch in range(self.epochs):
            shown = _drawn(window, weights, rng.derive(stream, "window", epoch))
            for run in recipe.at_one_rate(range(epoch * per_epoch, (epoch + 1) * per_epoch), self.epochs * per_epoch):
                rate = recipe.rate(run.start, self.epochs * per_epoch)
                if shown is window:
                    learner.steps(shown, run.start, len(run), rng.derive(stream, "epochs"), rate)
                else:  # drawn for this epoch alone, and not worth a recording
                    for step in run:
                        learner.step(shown, step, rng.derive(stream, "epochs"), rate)
            rows.append(_flat(network))
        return torch.stack(rows)


def _flat(network: Classifier) -> Float[Tensor, " p"]:
    return parameters_to_vector(network.parameters()).detach().cpu()


def _drawn(window: LabelledImages, weights: Float[Tensor, " m"], stream: int) -> LabelledImages:
    if bool((weights == weights[0]).all()):
        return window
    chosen = torch.multinomial(weights, len(window), replacement=True, generator=rng.generator(stream, "images"))
    return window.subset(chosen.to(window.labels.device))
