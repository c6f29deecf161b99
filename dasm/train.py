"""The only supervised training loop: matching networks, evaluators and benchmarks all learn here.

Settings of IDC (arXiv 2205.14959) by default: SGD, the rate cut to a fifth at 2/3 and 5/6 of the steps, Siamese
augmentation per image, CutMix on half of the batches. Training is counted in steps, never in epochs, so that sets of
different sizes get equal compute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor
from torch.optim.sgd import sgd

from dasm import rng
from dasm.augment import Operation, draw
from dasm.errors import require
from dasm.networks import Classifier, Network
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network learns; the defaults are IDC's.

    Attributes:
        batch_size: images per step; smaller sets are taken whole.
        learning_rate: of SGD, at the start.
        momentum: of SGD, in [0, 1).
        weight_decay: L2 penalty of SGD.
        decay: factor of the learning rate at each of `decay_at`.
        decay_at: fractions of the steps, in [0, 1].
        augmentation: operations of `dasm.augment`, drawn per image. Leave `cutout` out when CutMix is on (IDC).
        cutmix: share of batches with CutMix (arXiv 1905.04899), in [0, 1].
    """

    batch_size: int = 64
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay: float = 0.2
    decay_at: tuple[float, ...] = (2 / 3, 5 / 6)
    augmentation: tuple[Operation, ...] = ("flip", "color", "crop", "scale", "rotate")
    cutmix: float = 0.5

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require(self.batch_size >= 1, "batch_size must be >= 1", self.batch_size)
        require(self.learning_rate > 0, "learning_rate must be > 0", self.learning_rate)
        require(0 <= self.momentum < 1, "momentum must be in [0, 1)", self.momentum)
        require(self.weight_decay >= 0, "weight_decay must be >= 0", self.weight_decay)
        require(0 < self.decay <= 1, "decay must be in (0, 1]", self.decay)
        require(all(0 <= at <= 1 for at in self.decay_at), "decay_at must lie in [0, 1]", self.decay_at)
        require(0 <= self.cutmix <= 1, "cutmix must be in [0, 1]", self.cutmix)

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of step number `step` (from 0) out of `steps`."""
        return self.learning_rate * self.decay ** sum(step >= at * steps for at in self.decay_at)


@final
@dataclass(frozen=True, kw_only=True)
class Trainer:
    """An architecture with its recipe."""

    network: Network
    recipe: Recipe

    def start(self, data: LabelledImages, stream: int) -> "Learner":
        """Return a learner with a fresh network for sets like `data`, initialised from `stream`."""
        network = self.network.build(data.image_shape, data.num_classes, rng.derive(stream, "initialisation"))
        return Learner(network.to(data.labels.device), self.recipe)

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
        stages = (*before, data)
        kept = []
        for number in range(1, snapshots + 1):
            until = steps * number // snapshots
            for step in range(steps * (number - 1) // snapshots, until):
                learner.step(stages[step * len(stages) // steps], step, stream, self.recipe.rate(step, steps))
            copy = self.network.build(data.image_shape, data.num_classes, stream).to(data.labels.device)
            copy.load_state_dict(learner.network.state_dict())
            kept.append(copy.eval())
        return kept


@final
class Learner:
    """A network in training: its weights and momentum, and one step. It can be saved and put back at any step."""

    def __init__(self, network: Classifier, recipe: Recipe) -> None:
        """Start with zero momentum."""
        self.network = network
        self._recipe = recipe
        self._buffers: list[Tensor | None] = [None for _ in network.parameters()]

    def step(self, data: LabelledImages, step: int, stream: int, rate: float) -> None:
        """Take one SGD step on batch number `step` of the endless run through `data` that `stream` defines.

        The loss is the cross-entropy against the classes, or against the soft labels of a set that has them.
        """
        indices = epoch_batch(len(data), self._recipe.batch_size, step, stream).to(data.labels.device)
        generator = rng.generator(stream, "batch", step, device=data.labels.device)
        transform = draw(self._recipe.augmentation, len(indices), data.image_shape, generator)
        images, labels = transform(data.inputs(indices)), data.answers(indices)
        images, partners, share = _cutmix(images, labels, self._recipe.cutmix, rng.generator(stream, "cutmix", step))
        self.network.train()
        logits = self.network(images, once=True)
        loss = share * F.cross_entropy(logits, labels) + (1 - share) * F.cross_entropy(logits, partners)
        parameters: list[Tensor] = list(self.network.parameters())
        # The function behind torch.optim.SGD; the class imports the compiler, which costs every stage seconds.
        gradients = list(torch.autograd.grad(loss, parameters))
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


def epoch_batch(count: int, batch_size: int, step: int, stream: int) -> Int64[Tensor, " b"]:
    """Return the indices of batch number `step` of an endless run through `count` images, reshuffled every epoch.

    The last, partial batch of an epoch is kept, as in IDC. The answer depends on the arguments alone, so a run can be
    continued at any step.
    """
    per_epoch = -(-count // batch_size)
    epoch, position = divmod(step, per_epoch)
    return _permutation(count, rng.derive(stream, "epoch", epoch))[position * batch_size : (position + 1) * batch_size]


@lru_cache(maxsize=4)
def _permutation(count: int, stream: int) -> Int64[Tensor, " n"]:
    return torch.randperm(count, generator=torch.Generator().manual_seed(stream))


def _cutmix(
    images: Float[Tensor, "b c h w"],
    labels: Int64[Tensor, " b"] | Float[Tensor, "b k"],
    probability: float,
    generator: torch.Generator,
) -> tuple[Float[Tensor, "b c h w"], Int64[Tensor, " b"] | Float[Tensor, "b k"], float]:
    # Drawn on the CPU: the box decides a slice, which a device tensor could not without a synchronisation.
    gate, keep, row, column = torch.rand(4, generator=generator).tolist()
    partners = torch.randperm(len(labels), generator=generator).to(labels.device)
    if gate >= probability:
        return images, labels, 1.0
    height, width = images.shape[2:]
    # keep is lambda ~ Beta(1, 1); the box has area (1 - lambda) before it is clipped.
    half = (1 - keep) ** 0.5 / 2
    top, bottom = (_clip(int(height * (row + sign * half)), height) for sign in (-1, 1))
    left, right = (_clip(int(width * (column + sign * half)), width) for sign in (-1, 1))
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[partners, :, top:bottom, left:right]
    share = 1 - (bottom - top) * (right - left) / (height * width)
    return mixed, labels[partners], share


def _clip(value: int, high: int) -> int:
    return min(max(value, 0), high)
