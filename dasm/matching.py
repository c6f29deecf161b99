"""Optimise the pixels of one segment under an objective, with checkpoints.

The pixel optimiser is IDC's (arXiv 2205.14959): SGD with momentum whose rate is
`learning_rate * planned_ipc / 10 * (side / 32) ** 2`. The rate follows the *planned* images per class of the whole set,
not those of the segment, so that at equal total iterations every stored image moves as far as in joint distillation.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm import rng
from dasm.batches import RealBatches, SyntheticBatches
from dasm.checkpoint import Checkpoint
from dasm.errors import require
from dasm.objectives import Objective, State
from dasm.train import Trainer
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class Matching:
    """How a segment's pixels are optimised.

    Attributes:
        objective: what they minimise.
        trainer: of the networks through which the sets are seen.
        factor: multi-formation factor f; each stored image decodes to f * f training images (2 for small images and 3
            for ImageNet in IDC).
        learning_rate: of the pixels at 10 images per class and 32 pixels a side (5e-3 for CIFAR in IDC).
        momentum: of the pixels, in [0, 1) (0.5 in IDC).
        match_prefix: match the union of the frozen segments and the new one, as SeqMatch (arXiv 2311.01570) and PDD
            (arXiv 2310.06982) do, instead of the new segment alone (A11).
    """

    objective: Objective
    trainer: Trainer
    factor: int = 2
    learning_rate: float = 5e-3
    momentum: float = 0.5
    match_prefix: bool = False

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require(self.factor >= 1, "factor must be >= 1", self.factor)
        require(self.learning_rate > 0, "learning_rate must be > 0", self.learning_rate)
        require(0 <= self.momentum < 1, "momentum must be in [0, 1)", self.momentum)

    def rate(self, planned_ipc: int, side: int) -> float:
        """Return the pixels' learning rate for a set of `planned_ipc` images per class of `side` pixels."""
        return self.learning_rate * planned_ipc / 10 * (side / 32) ** 2

    def optimise(
        self,
        initial: Float[Tensor, "k m c h w"],
        real: LabelledImages,
        weights: Float[Tensor, " n"],
        *,
        iterations: int,
        planned_ipc: int,
        stream: int,
        frozen: Sequence[Float[Tensor, "p c h w"]] = (),
        checkpoint: Checkpoint | None = None,
        track: Callable[[range], Iterable[int]] = iter,
    ) -> tuple[Float[Tensor, "k m c h w"], Float[Tensor, " i"]]:
        """Move the pixels of one segment.

        Args:
            initial: stored pixels in [0, 1], m per class.
            real: all real training images.
            weights: of the window, one per real image.
            iterations: pixel updates of every class, >= 0.
            planned_ipc: images per class of the whole set.
            frozen: stored pixels of earlier segments, one tensor per class; matched too if `match_prefix`.
            stream: the result depends on the arguments and this alone (on a GPU, up to the order of sums).
            checkpoint: where to continue from and to save to; a continued run ends with the same bytes.
            track: wraps the range of iterations still to do, to show progress.

        Returns:
            The pixels, clamped to [0, 1], and the distance of every iteration, summed over the classes.

        Raises:
            FloatingPointError: a distance is not finite; names the iteration.
        """
        pixels = [images.clone().requires_grad_() for images in initial.to(real.labels.device)]
        turns = len(pixels) if self.objective.class_by_class else 1
        optimiser = PixelSGD(pixels, self.rate(planned_ipc, initial.shape[-1]), self.momentum, turns)
        state = self.objective.prepare(real, self.trainer, rng.derive(stream, "objective"))
        history = torch.zeros(iterations)
        start = _restore(checkpoint, pixels, optimiser, state, history)
        batches, synthetic = self._batches(pixels, frozen, real, weights, stream)
        for iteration in track(range(start, iterations)):
            if iteration % self.objective.period == 0:
                optimiser.clamp()
            optimiser.before()
            draw = rng.derive(stream, "iteration", iteration)
            for distance in self.objective.distances(state, batches, synthetic, iteration, draw):
                optimiser.accumulate(distance)
                history[iteration] += distance.detach().cpu()
            if not history[iteration].isfinite():
                raise FloatingPointError(f"iteration {iteration}: the distance is {history[iteration].item()}")
            optimiser.step()
            if checkpoint is not None:
                done = torch.tensor(iteration + 1)
                checkpoint.offer(lambda done=done: _pack(done, pixels, optimiser, state, history))  # type: ignore[misc]
        optimiser.clamp()
        return torch.stack([images.detach() for images in pixels]).cpu(), history

    def _batches(
        self,
        pixels: Sequence[Tensor],
        frozen: Sequence[Tensor],
        real: LabelledImages,
        weights: Float[Tensor, " n"],
        stream: int,
    ) -> tuple[RealBatches, SyntheticBatches]:
        window = weights.to(real.labels.device)
        return RealBatches(data=real, weights=window, stream=rng.derive(stream, "real")), SyntheticBatches(
            pixels=pixels,
            frozen=frozen if self.match_prefix else (),
            factor=self.factor,
            mean=real.mean,
            std=real.std,
            stream=rng.derive(stream, "synthetic"),
        )


@final
class PixelSGD:
    """SGD with momentum over the classes' pixels, as if the classes took turns with one shared momentum buffer.

    IDC steps one optimiser over all classes once per class, so class c also moves by momentum alone during the other
    C - 1 turns of an iteration: c of them before its own, C - 1 - c after. All gradients of an iteration see the same
    network, hence the C steps have a closed form: j momentum-only moves shift the pixels by
    -rate * (mu + mu^2 + ... + mu^j) * v and leave mu^j * v in the buffer. With one turn it is plain SGD.
    """

    def __init__(self, pixels: Sequence[Tensor], rate: float, momentum: float, turns: int) -> None:
        """Start at rest; `turns` is the number of classes, or 1 if all classes are updated at once."""
        self._pixels = pixels
        self._rate = rate
        self._momentum = momentum
        self._turns = turns
        self.velocity = [torch.zeros_like(images) for images in pixels]
        self._gradient = [torch.zeros_like(images) for images in pixels]

    @torch.no_grad()
    def before(self) -> None:
        """Make every class's momentum-only moves that precede its own turn, and forget the last gradient."""
        for index, gradient in enumerate(self._gradient):
            gradient.zero_()
            self._coast(index, self._before(index))

    def accumulate(self, distance: Float[Tensor, ""]) -> None:
        """Add the gradient of one scalar; its graph is freed."""
        found = torch.autograd.grad(distance, list(self._pixels), allow_unused=True)
        for gradient, part in zip(self._gradient, found, strict=True):
            if part is not None:
                gradient += part

    @torch.no_grad()
    def step(self) -> None:
        """Make every class's own move and the momentum-only moves that follow it."""
        for index, (images, velocity) in enumerate(zip(self._pixels, self.velocity, strict=True)):
            velocity.mul_(self._momentum).add_(self._gradient[index])
            images.sub_(velocity, alpha=self._rate)
            self._coast(index, self._turns - 1 - self._before(index))

    @torch.no_grad()
    def clamp(self) -> None:
        """Put the pixels back into [0, 1]; the momentum stays."""
        for images in self._pixels:
            images.clamp_(0, 1)

    def _before(self, index: int) -> int:
        return min(index, self._turns - 1)

    def _coast(self, index: int, moves: int) -> None:
        reach = sum(self._momentum**j for j in range(1, moves + 1))
        self._pixels[index].sub_(self.velocity[index], alpha=self._rate * reach)
        self.velocity[index].mul_(self._momentum**moves)


def _pack(
    done: Tensor, pixels: Sequence[Tensor], optimiser: PixelSGD, state: State, history: Tensor
) -> dict[str, Tensor]:
    packed = {"iteration": done, "history": history}
    packed |= {f"pixels.{c}": images for c, images in enumerate(pixels)}
    packed |= {f"velocity.{c}": velocity for c, velocity in enumerate(optimiser.velocity)}
    return packed | {f"state.{name}": tensor for name, tensor in state.tensors().items()}


def _restore(
    checkpoint: Checkpoint | None, pixels: Sequence[Tensor], optimiser: PixelSGD, state: State, history: Tensor
) -> int:
    saved = checkpoint.load() if checkpoint is not None else None
    if saved is None:
        return 0
    with torch.no_grad():
        for c, images in enumerate(pixels):
            images.copy_(saved[f"pixels.{c}"])
            optimiser.velocity[c].copy_(saved[f"velocity.{c}"])
    state.restore({name.removeprefix("state."): t for name, t in saved.items() if name.startswith("state.")})
    history.copy_(saved["history"])
    return int(saved["iteration"])
