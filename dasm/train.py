"""The only supervised training loop: matching networks, evaluators and benchmarks all learn here.

Settings of IDC (arXiv 2205.14959) by default: SGD, the rate cut to a fifth at 2/3 and 5/6 of the steps, an
augmentation per image, CutMix on half of the batches (where ours departs from its code: `dasm.augment`,
`dasm.steps.orders`). Training is counted in steps, never in epochs, so that sets of
different sizes get equal compute.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor
from torch.optim.sgd import sgd

from dasm import rng
from dasm.augment import draw
from dasm.machine.precision import answers, products
from dasm.networks import Classifier, Network
from dasm.recipe import Recipe as Recipe
from dasm.steps.capture import Captured
from dasm.steps.draws import BLOCK, Plan, block, in_blocks
from dasm.steps.orders import epoch_batch as epoch_batch
from dasm.steps.orders import mix
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class Trainer:
    """An architecture with its recipe."""

    network: Network
    recipe: Recipe
    _captured: Captured = field(default_factory=Captured, init=False, repr=False, compare=False)

    def start(self, data: LabelledImages, stream: int) -> "Learner":
        """Return a learner with a fresh network for sets like `data`, initialised from `stream`."""
        network = self.network.build(data.image_shape, data.num_classes, rng.derive(stream, "initialisation"))
        return self.learner(network.to(data.labels.device))

    def learner(self, network: Classifier) -> "Learner":
        """Return a learner, with zero momentum, that goes on with a network of this architecture."""
        return Learner(network, self.recipe, self._captured)

    def train(
        self,
        data: LabelledImages,
        steps: int,
        stream: int,
        snapshots: int = 1,
        *,
        before: Sequence[LabelledImages] = (),
        start: Classifier | None = None,
    ) -> list[Classifier]:
        """Train a network and return copies of it, evenly spread over the run, the trained one last.

        Args:
            data: training images; at least one.
            steps: optimiser steps, >= 1.
            stream: initialisation, order, augmentation and CutMix; the result depends on nothing else but the device.
            snapshots: how many copies, >= 1.
            before: sets that are learnt before `data`, one after another; each of them and `data` get an equal share of
                the steps. Momentum and the course of the learning rate run through.
            start: takes its weights from this network instead of fresh ones; the momentum starts at zero.
        """
        learner = self.start(data, stream)
        if start is not None:
            learner.network.load_state_dict(start.state_dict())
        kept = []
        for part in shares(steps, snapshots):
            for stage, run in self.runs((*before, data), part, steps):
                learner.steps(stage, run.start, len(run), stream, self.recipe.rate(run.start, steps))
            kept.append(self.copy(learner.network.state_dict(), data))
        return kept

    def runs(self, stages: Sequence[LabelledImages], part: range, steps: int) -> Iterator[tuple[LabelledImages, range]]:
        """Yield the steps of a part of the training in runs that share a set of images and a learning rate."""
        for number, stage in enumerate(stages):
            # Step n belongs to stage n * stages // steps.
            first, end = (-(-steps * edge // len(stages)) for edge in (number, number + 1))
            mine = range(max(first, part.start), min(end, part.stop))
            for run in self.recipe.at_one_rate(mine, steps):
                yield stage, run

    def copy(self, weights: Mapping[str, Tensor], data: LabelledImages) -> Classifier:
        """Return a network of its own, in evaluation mode, that holds these weights."""
        network = self.network.build(data.image_shape, data.num_classes, 0).to(data.labels.device)
        network.load_state_dict(weights)
        network.precision = self.recipe.precision
        return network.eval()


def shares(steps: int, parts: int) -> list[range]:
    """Return the steps in so many parts, as even as can be."""
    edges = [steps * number // parts for number in range(parts + 1)]
    return [range(a, b) for a, b in pairwise(edges)]


@final
class Learner:
    """A network in training: its weights and momentum, and one step. It can be saved and put back at any step."""

    def __init__(self, network: Classifier, recipe: Recipe, captured: Captured | None = None) -> None:
        """Start with zero momentum; `captured` is what learners of the same architecture and recipe share."""
        self.network = network
        self.network.precision = recipe.precision
        self._recipe = recipe
        self._captured = captured or Captured()
        self._buffers: list[Tensor | None] = [None for _ in network.parameters()]

    def steps(self, data: LabelledImages, first: int, count: int, stream: int, rate: float) -> None:
        """Take `count` steps from number `first`; on a GPU as one recorded step, replayed.

        The recording holds for a set that is the same object at every call: for sets that are made anew, take `step`.
        """
        if data.labels.is_cuda and self._recipe.captured and in_blocks(self._recipe):
            steps = range(first, first + count)
            momenta = self._captured.run(self.network, self._buffers, self._recipe, data, steps, stream, rate)
            self._buffers = [*momenta] if self._recipe.momentum else self._buffers
            return
        for step in range(first, first + count):
            self.step(data, step, stream, rate)

    def step(self, data: LabelledImages, step: int, stream: int, rate: float) -> None:
        """Take one SGD step on batch number `step` of the endless run through `data` that `stream` defines.

        The loss is the cross-entropy against the classes, or against the soft labels of a set that has them.
        """
        images, labels, partners, share = self._batch(data, step, stream)
        self.network.train()
        parameters: list[Tensor] = list(self.network.parameters())
        with products(self._recipe.precision, images.device.type):
            logits = answers(partial(self.network, once=True), images, self._recipe.precision)
            loss = share * F.cross_entropy(logits, labels) + (1 - share) * F.cross_entropy(logits, partners)
            gradients = list(torch.autograd.grad(loss, parameters))
        # The function behind torch.optim.SGD; the class imports the compiler, which costs every stage seconds.
        with torch.no_grad():
            sgd(
                parameters,
                gradients,
                self._buffers,
                weight_decay=self._recipe.weight_decay,
                momentum=self._recipe.momentum,
                lr=rate,
                dampening=0.0,
                nesterov=False,
                maximize=False,
            )

    def _batch(self, data: LabelledImages, step: int, stream: int) -> tuple[Tensor, Tensor, Tensor, float | Tensor]:
        recipe, device = self._recipe, data.labels.device
        if data.labels.is_cuda and in_blocks(recipe):
            plan = Plan.of(data, recipe)
            row = torch.full((1,), step % BLOCK, device=device)
            images, truths, shares = block(plan, step // BLOCK, [stream]).batch(data, row, plan.size(step))
            return images[0], *truths, shares[0]
        indices = epoch_batch(len(data), recipe.batch_size, step, stream).to(device)
        transform = draw(
            recipe.augmentation, len(indices), data.image_shape, rng.generator(stream, "batch", step, device=device)
        )
        images, labels = transform(data.inputs(indices)), data.answers(indices)
        images, partners, share = _cutmix(images, labels, recipe.cutmix, rng.generator(stream, "cutmix", step))
        return images, labels, partners, share

    def tensors(self) -> dict[str, Tensor]:
        """Return weights and momentum buffers by name, for a checkpoint."""
        state = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        buffers = {f"momentum.{i}": buffer for i, buffer in enumerate(self._buffers) if buffer is not None}
        return state | buffers

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` returned."""
        weights = {name.removeprefix("network."): v for name, v in tensors.items() if name.startswith("network.")}
        self.network.load_state_dict(weights)
        device = next(self.network.parameters()).device
        for i in range(len(self._buffers)):
            saved = tensors.get(f"momentum.{i}")
            self._buffers[i] = None if saved is None else saved.to(device, copy=True)


def _cutmix(
    images: Float[Tensor, "b c h w"],
    labels: Int64[Tensor, " b"] | Float[Tensor, "b k"],
    probability: float,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "b c h w"], Int64[Tensor, " b"] | Float[Tensor, "b k"], float]:
    height, width = images.shape[2:]
    partners, box, share = mix(len(labels), (height, width), probability, generator)
    if box is None:
        return images, labels, share
    top, bottom, left, right = box
    partners = partners.to(labels.device)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[partners, :, top:bottom, left:right]
    return mixed, labels[partners], share
