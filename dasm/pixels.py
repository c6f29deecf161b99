"""How pixels move: the rule that an objective's paper states, and the optimisers that carry it out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import cos, pi
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm.errors import at_least, require, within
from dasm.machine import ranks


@final
@dataclass(frozen=True, kw_only=True)
class PixelRule:
    """An optimiser of pixels in [0, 1] with its settings.

    Attributes:
        kind: `sgd` with momentum, `adam`, or `adamw` with `decay`.
        learning_rate: in (0, 1e9].
        momentum: of SGD, or Adam's first moment, in [0, 1).
        second: Adam's second moment, in [0, 1).
        decay: decoupled weight decay of AdamW, >= 0.
        by_budget: scale the rate by `planned_ipc / 10 * (side / reference_side) ** 2`, as IDC (arXiv 2205.14959) does;
            the side of an oblong image is that of a square of its area. It follows the *planned* images per class, so
            that at equal total iterations every stored image moves as far as in joint distillation (A14) where a
            segment is matched alone. In a union with the frozen images, a new one has a smaller part of the class mean
            (`even_rate` of `dasm.matching` makes up for it).
        reference_side: pixels a side for which the rate is meant, >= 1.
        normalised: the rate is meant for normalised pixels x = (p - mean) / std, in which most papers keep their sets;
            the same step in p is std ** 2 times the gradient for SGD, and std times the step for Adam.
        schedule: `constant`, or `cosine` to zero over the segment's iterations.
    """

    kind: Literal["sgd", "adam", "adamw"] = "sgd"
    learning_rate: float
    momentum: float = 0.5
    second: float = 0.999
    decay: float = 0.0
    by_budget: bool = False
    reference_side: int = 32
    normalised: bool = False
    schedule: Literal["constant", "cosine"] = "constant"

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        within(self, "(0, 1e9]", "learning_rate")
        within(self, "[0, 1)", "momentum", "second")
        at_least(self, 0, "decay")
        at_least(self, 1, "reference_side")
        # The closed form of SGD's turns moves pixels by an earlier iteration's velocity: with one rate only.
        steady = self.kind != "sgd" or self.schedule == "constant"
        require(steady, "schedule must be constant for sgd", self.schedule)

    def rate(self, planned_ipc: int, area: int) -> float:
        """Return the learning rate for a set of `planned_ipc` images per class of `area` pixels."""
        scale = planned_ipc / 10 * area / self.reference_side**2 if self.by_budget else 1.0
        return self.learning_rate * scale

    def share(self, iteration: int, iterations: int) -> float:
        """Return the part of the rate, in (0, 1], that is in force at an iteration (from 0)."""
        return (1 + cos(pi * iteration / iterations)) / 2 if self.schedule == "cosine" else 1.0

    def start(
        self, pixels: Sequence[Tensor], planned_ipc: int, turns: int, std: Float[Tensor, " c"]
    ) -> "PixelOptimiser":
        """Return an optimiser at rest.

        Args:
            pixels: leaf tensors, one per class (m c h w).
            planned_ipc: images per class of the whole set.
            turns: the number of classes if they are updated in turn (IDC), or 1 if all at once.
            std: channel standard deviation of the real set.
        """
        unit = std[:, None, None] if self.normalised else torch.ones(())
        rate = self.rate(planned_ipc, pixels[0].shape[-2:].numel())
        if self.kind == "sgd":
            return PixelSGD(pixels, rate, self.momentum, turns, unit.square())
        return PixelAdam(pixels, rate, (self.momentum, self.second), self.decay if self.kind == "adamw" else 0.0, unit)


class PixelOptimiser(ABC):
    """Moves the pixels of all classes; collects their gradient first."""

    def __init__(self, pixels: Sequence[Tensor]) -> None:
        """Take hold of the leaf tensors, one per class."""
        self._pixels = pixels
        self._gradient = [torch.zeros_like(images) for images in pixels]

    @torch.no_grad()
    def before(self) -> None:
        """Begin an iteration: forget the last gradient."""
        for gradient in self._gradient:
            gradient.zero_()

    def accumulate(self, distance: Float[Tensor, ""]) -> None:
        """Add the gradient of one scalar; its graph is freed."""
        found = torch.autograd.grad(distance, list(self._pixels), allow_unused=True)
        for gradient, part in zip(self._gradient, found, strict=True):
            if part is not None:
                gradient += part

    def gather(self, *more: Tensor) -> None:
        """Add up the gradient, and `more`, over the processes that each have some of the classes."""
        ranks.add_up([*self._gradient, *more])

    @abstractmethod
    def step(self, share: float = 1.0) -> None:
        """Move the pixels; `share` is the part of the rate in force."""

    @torch.no_grad()
    def clamp(self) -> None:
        """Put the pixels back into [0, 1]; what the optimiser remembers stays."""
        for images in self._pixels:
            images.clamp_(0, 1)

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return what it remembers, by name, for a checkpoint."""

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` returned."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])


@final
class PixelSGD(PixelOptimiser):
    """SGD with momentum over the classes' pixels, as if the classes took turns with one shared momentum buffer.

    IDC steps one optimiser over all classes once per class, so class c also moves by momentum alone during the other
    C - 1 turns of an iteration: c of them before its own, C - 1 - c after. All gradients of an iteration see the same
    network, hence the C steps have a closed form: j momentum-only moves shift the pixels by
    -rate * (mu + mu^2 + ... + mu^j) * v and leave mu^j * v in the buffer. With one turn it is plain SGD.
    """

    def __init__(self, pixels: Sequence[Tensor], rate: float, momentum: float, turns: int, unit: Tensor) -> None:
        """Start at rest; `turns` is the number of classes, or 1; `unit` scales the gradient channel by channel."""
        super().__init__(pixels)
        self._rate = rate
        self._momentum = momentum
        self._turns = turns
        self._reach = [0.0, *accumulate(momentum**j for j in range(1, turns))]
        self._unit = unit.to(pixels[0])
        self.velocity = [torch.zeros_like(images) for images in pixels]

    @torch.no_grad()
    def before(self) -> None:
        """Make every class's momentum-only moves that precede its own turn, and forget the last gradient."""
        super().before()
        for index in range(len(self._pixels)):
            self._coast(index, self._before(index))

    @torch.no_grad()
    def step(self, share: float = 1.0) -> None:
        """Make every class's own move and the momentum-only moves that follow it."""
        for index, (images, velocity) in enumerate(zip(self._pixels, self.velocity, strict=True)):
            velocity.mul_(self._momentum).add_(self._gradient[index] * self._unit)
            images.sub_(velocity, alpha=self._rate * share)
            self._coast(index, self._turns - 1 - self._before(index))

    def tensors(self) -> dict[str, Tensor]:
        return {f"velocity.{index}": velocity for index, velocity in enumerate(self.velocity)}

    def _before(self, index: int) -> int:
        return min(index, self._turns - 1)

    def _coast(self, index: int, moves: int) -> None:
        self._pixels[index].sub_(self.velocity[index], alpha=self._rate * self._reach[moves])
        self.velocity[index].mul_(self._momentum**moves)


@final
class PixelAdam(PixelOptimiser):
    """Adam (arXiv 1412.6980) over the pixels of all classes at once, with decoupled weight decay (arXiv 1711.05101)."""

    def __init__(
        self, pixels: Sequence[Tensor], rate: float, moments: tuple[float, float], decay: float, unit: Tensor
    ) -> None:
        """Start at rest; `unit` is the size of one normalised unit in pixels, channel by channel."""
        super().__init__(pixels)
        self._rate = rate
        self._moments = moments
        self._decay = decay
        self._unit = unit.to(pixels[0])
        self._steps = torch.zeros((), dtype=torch.int64)
        self._first = [torch.zeros_like(images) for images in pixels]
        self._second = [torch.zeros_like(images) for images in pixels]

    @torch.no_grad()
    def step(self, share: float = 1.0) -> None:
        """Make one step of all classes."""
        self._steps += 1
        (beta, gamma), count, rate = self._moments, int(self._steps), self._rate * share
        for images, gradient, first, second in zip(
            self._pixels, self._gradient, self._first, self._second, strict=True
        ):
            first.lerp_(gradient * self._unit, 1 - beta)
            second.lerp_((gradient * self._unit).square(), 1 - gamma)
            size = (second / (1 - gamma**count)).sqrt().add_(1e-8)
            images.mul_(1 - rate * self._decay)
            images.sub_(first / (1 - beta**count) / size * self._unit, alpha=rate)

    def tensors(self) -> dict[str, Tensor]:
        moments = {f"first.{index}": first for index, first in enumerate(self._first)}
        return moments | {f"second.{index}": s for index, s in enumerate(self._second)} | {"steps": self._steps}
