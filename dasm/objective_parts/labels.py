"""Labels that are learnt with the images, as in DATM (Guo et al., ICLR 2024, arXiv 2310.05773).

Every training image of the new segment has logits, students learn their softmax, and the gradient of the students'
distance moves them. They start from what the experts say of the image after their last epoch, from the mean over those
that are right about it. Where none is, DATM's released code divides by zero. Here such an image starts from the mean
over all experts, in which the logits of its class and of the one that leads change places: as unsure as the experts
are, but of the class that it is of.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dasm import rng
from dasm.errors import ConfigError
from dasm.formation import decoded_count
from dasm.networks import Classifier
from dasm.objective_parts.batches import SyntheticBatches
from dasm.objective_parts.unroll import logits_at
from dasm.steps.blocks import brought
from dasm.types import LabelledImages


@final
class Learnt:
    """A value that moves by SGD with a momentum of its own."""

    def __init__(self, value: Tensor, velocity: Tensor | None = None) -> None:
        """Start at rest, or with a velocity."""
        self.value = value
        self.velocity = torch.zeros_like(value) if velocity is None else velocity.to(value)

    def step(self, slope: Tensor, rate: float, momentum: float, skipped: Bool[Tensor, ""] | None) -> None:
        """Go down a slope; if `skipped`, leave value and velocity as they are. A GPU is not asked whether."""
        velocity = momentum * self.velocity + slope
        value = self.value - rate * velocity
        if skipped is not None:
            velocity, value = torch.where(skipped, self.velocity, velocity), torch.where(skipped, self.value, value)
        self.velocity, self.value = velocity, value


def class_by_class(
    synthetic: SyntheticBatches, iteration: int, of: Literal["union", "new"] = "union"
) -> tuple[Float[Tensor, "n c h w"], Int64[Tensor, " n"]]:
    """Return all training images of the new segment, or of its union with the frozen ones, and their classes.

    The images are normalised, and differentiable in the new segment's pixels.
    """
    images = torch.cat([synthetic.draw(label, None, iteration, of) for label in range(len(synthetic.pixels))])
    classes = torch.arange(len(synthetic.pixels), device=images.device)
    return images, classes.repeat_interleave(len(images) // len(classes))


@final
class LearntLabels:
    """Logits of the training images of one segment, from the first time that they are shown."""

    def __init__(
        self,
        network: Classifier,
        experts: Sequence[Float[Tensor, "e p"]],
        *,
        rate: float,
        momentum: float,
        batch: int | None,
        prefix: LabelledImages | None,
        stream: int,
    ) -> None:
        """Ask nobody yet.

        Args:
            network: lends its shape.
            experts: one row of weights per epoch.
            rate: of the logits' SGD, >= 0.
            momentum: of it, in [0, 1).
            batch: images of a student's step; None for all. They are shown to an expert by as many, in training mode,
                because experts keep no statistics of batch normalisation; without this it makes no difference.
            prefix: training images of the frozen segments, with the labels that these were frozen with.
            stream: of the images' order in front of the experts.
        """
        self._network, self._experts = network, experts
        self._rate, self._momentum = rate, momentum
        self._batch, self._prefix, self._stream = batch, prefix, stream
        self._logits: Learnt | None = None

    def shown(
        self, synthetic: SyntheticBatches, iteration: int
    ) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n k"]]:
        """Return all training images, normalised, and their labels: those of the frozen segments come first, if any.

        Raises:
            ConfigError: frozen segments are matched too, and `prefix` does not hold them.
        """
        images, classes = class_by_class(synthetic, iteration, "new")
        if self._logits is None:
            self._logits = Learnt(self._asked(images.detach(), classes))
        labels = self._logits.value.softmax(1)
        if not synthetic.frozen:
            return images, labels
        prefix, count = self._prefix, decoded_count(sum(map(len, synthetic.frozen)), synthetic.factor)
        if prefix is None or len(prefix) != count:
            held = 0 if prefix is None else len(prefix)
            rule = f"surroundings: prefix must hold the {count} training images of the frozen segments that are matched"
            raise ConfigError(f"{rule} too, got {held} (their labels go with them)")
        frozen = F.one_hot(prefix.labels, prefix.num_classes) if prefix.targets is None else prefix.targets
        return torch.cat([prefix.inputs().to(images), images]), torch.cat([frozen.to(labels), labels])

    def learn(self, slope: Float[Tensor, "n k"], skipped: Bool[Tensor, ""] | None) -> None:
        """Take one step of SGD, unless it is skipped.

        Args:
            slope: of the distance in the labels that `shown` returned, those of frozen images included.
            skipped: whether to stay.
        """
        assert self._logits is not None, "labels are learnt after they were shown"
        labels = self._logits.value.softmax(1)
        mine = slope[-len(labels) :]
        turn = labels * (mine - (labels * mine).sum(1, keepdim=True))
        self._logits.step(turn, self._rate, self._momentum, skipped)

    def of(self, images: LabelledImages) -> Float[Tensor, "n k"]:
        """Return the labels of all training images of the segment in their order, on the CPU."""
        # Class by class they are in the order in which they were learnt.
        order = images.labels.argsort(stable=True)
        found = self._asked(images.inputs(order), images.labels[order]) if self._logits is None else self._logits.value
        return found[order.argsort()].softmax(1).float().cpu()

    def tensors(self) -> dict[str, Tensor]:
        """Return what the next iteration depends on, for a checkpoint."""
        learnt = self._logits
        return {} if learnt is None else {"logits": learnt.value, "logits.velocity": learnt.velocity}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` returned."""
        if "logits" in tensors:
            device = next(self._network.parameters()).device
            self._logits = Learnt(tensors["logits"].to(device), tensors["logits.velocity"])

    @torch.no_grad()
    def _asked(self, images: Float[Tensor, "n c h w"], classes: Int64[Tensor, " n"]) -> Float[Tensor, "n k"]:
        order = torch.randperm(len(images), generator=rng.generator(self._stream)).to(images.device)
        everyone = those_right = right = torch.zeros((), device=images.device)
        for expert in self._experts:
            weights = brought(expert[-1].clone(), images.device)
            batches = [images[batch] for batch in order.split(self._batch or len(order))]
            found = torch.cat([logits_at(self._network, weights, batch) for batch in batches])[order.argsort()]
            correct = (found.argmax(1) == classes)[:, None]
            everyone, those_right, right = everyone + found, those_right + found * correct, right + correct
        otherwise = _renamed(everyone / len(self._experts), classes)
        return torch.where(right > 0, those_right / right.clamp(min=1), otherwise)


def _renamed(logits: Float[Tensor, "n k"], classes: Int64[Tensor, " n"]) -> Float[Tensor, "n k"]:
    best, leading = logits.max(1, keepdim=True)
    named = torch.arange(logits.shape[1], device=logits.device)
    own = classes[:, None]
    return torch.where(named == own, best, torch.where(named == leading, logits.gather(1, own), logits))
