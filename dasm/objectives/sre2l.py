"""Recovery from a trained network's statistics (SRe2L, Yin et al., NeurIPS 2023, arXiv 2306.13092).

A teacher is trained on all real images. Synthetic images, one per class in a batch, should be classified correctly by
it, and their features should have the mean and variance that its batch-norm layers remember. Differences from SRe2L's
released code:

1. Images start from real ones, as every segment of this project does, not from noise. That is where a window acts; it
   can also act on the statistics (`statistics`), an idea of PSM and CUDD (arXiv 2405.09150).
2. Augmentation is that of `dasm.augment`, one draw per batch: flips, and shifts that let in the mean colour, where
   SRe2L has random resized crops for ImageNet, and shifts alone, that let in the other side, for CIFAR.
3. All images per class are optimised side by side, in batches of one per class. Adam moves each pixel by its own
   history, so nothing changes but the streams.
4. The teacher learns by the recipe of the matching network. Every segment trains its own.
5. Labels are hard by default (C9). Soft ones are the teacher's answer to the stored image, one per image, to be learned
   at temperature 1 like any label; SRe2L stores an answer per augmented view and learns them at temperature 20 or 30.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dasm import rng
from dasm.augment import Operation
from dasm.augment import draw as draw_transform
from dasm.errors import ConfigError, at_least, require
from dasm.formation import decode, decoded_count
from dasm.networks import Classifier, predict
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.objectives import Extras, Objective, State, Surroundings
from dasm.pixels import PixelRule
from dasm.train import Trainer
from dasm.types import LabelledImages, normalise

_READ_BATCH = 500
#: Mean and variance of every channel that a batch-norm layer reads.
Statistics = Sequence[tuple[Float[Tensor, " _"], Float[Tensor, " _"]]]


@final
@dataclass(frozen=True, kw_only=True)
class SRe2L(Objective):
    """Cross-entropy of a teacher plus the distance from its batch-norm statistics.

    Attributes:
        teacher_steps: optimiser steps of the teacher on real images, >= 1 (200 epochs of CIFAR in batches of 128).
        statistics_weight: r_bn, of the statistics against the cross-entropy, >= 0 (0.01 in SRe2L).
        first_layer: further weight of the first batch-norm layer, >= 0 (10 in SRe2L).
        classes_per_batch: classes of one batch at most, >= 1, one image each (100 in SRe2L).
        statistics: `all` are those that the teacher remembers of its training, `window` those of the window's images in
            the trained teacher, weighted as the window says.
        augmentation: one draw per batch.
        labels: `hard`, or `soft` for the teacher's distribution over the classes.
        temperature: of that distribution, > 0.
    """

    joins_prefix: ClassVar[bool] = False
    learns_from_real: ClassVar[bool] = True
    teacher_steps: int = 78_125
    statistics_weight: float = 0.01
    first_layer: float = 10.0
    classes_per_batch: int = 100
    statistics: Literal["all", "window"] = "all"
    augmentation: tuple[Operation, ...] = ("flip", "crop")
    labels: Literal["hard", "soft"] = "hard"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        at_least(self, 1, "teacher_steps", "classes_per_batch")
        at_least(self, 0, "statistics_weight", "first_layer")
        require(self.temperature > 0, "temperature must be > 0", self.temperature)

    @property
    def reads_window(self) -> bool:
        return self.statistics == "window"

    @property
    def asks_prefix(self) -> bool:
        return False

    @property
    def rule(self) -> PixelRule:
        return PixelRule(kind="adam", learning_rate=0.25, momentum=0.5, second=0.9, normalised=True, schedule="cosine")

    def prepare(self, real: LabelledImages, trainer: Trainer, stream: int, surroundings: Surroundings) -> State:  # noqa: ARG002
        blank = trainer.start(real, stream).network
        if not batch_norms(blank):
            raise ConfigError("network: sre2l recovers batch-norm statistics, got a network without any (norm: batch)")
        return _Teacher(blank, lambda: trainer.train(real, self.teacher_steps, rng.derive(stream, "teacher"))[0])

    def distances(
        self,
        state: State,
        real: RealBatches,
        synthetic: SyntheticBatches,
        iteration: int,  # noqa: ARG002 - every iteration is like the others
        draw: int,
    ) -> Iterator[Float[Tensor, ""]]:
        assert isinstance(state, _Teacher), "a state is only used by the objective that made it"
        wanted = state.window(real) if self.statistics == "window" else remembered(state.network)
        classes, size = range(len(synthetic.pixels)), self.classes_per_batch
        for number in range(decoded_count(len(synthetic.pixels[0]), synthetic.factor)):
            for part, batch in enumerate(classes[first : first + size] for first in classes[::size]):
                images = one_of_each(synthetic, batch, number)
                generator = rng.generator(draw, "shared", number, part, device=images.device)
                shared = draw_transform(self.augmentation, 1, real.data.image_shape, generator)
                labels = torch.arange(batch.start, batch.stop, device=images.device)
                yield self.loss(state.network, shared.repeat(len(images))(images), labels, wanted)

    def loss(
        self, network: Classifier, images: Float[Tensor, "b c h w"], labels: Int64[Tensor, " b"], wanted: Statistics
    ) -> Float[Tensor, ""]:
        """Return the cross-entropy plus the weighted norms of the distances from the wanted statistics.

        Args:
            network: the teacher, in evaluation mode.
            images: one batch, normalised.
            labels: their classes.
            wanted: of every batch-norm layer.
        """
        logits, inputs = read(network, images)
        distance = torch.zeros((), device=images.device)
        for layer, (x, (mean, variance)) in enumerate(zip(inputs, wanted, strict=True)):
            others = [d for d in range(x.dim()) if d != 1]
            apart = (x.mean(others) - mean).norm() + (x.var(others, correction=0) - variance).norm()
            distance = distance + (self.first_layer if layer == 0 else 1.0) * apart
        return F.cross_entropy(logits, labels) + self.statistics_weight * distance

    def finish(self, state: State, images: LabelledImages) -> Extras:
        assert isinstance(state, _Teacher), "a state is only used by the objective that made it"
        if self.labels == "hard":
            return Extras()
        return Extras(soft_labels=(predict(state.network, images) / self.temperature).softmax(1).cpu())


def one_of_each(synthetic: SyntheticBatches, classes: range, number: int) -> Float[Tensor, "k c h w"]:
    """Return decoded training image `number` of each of these classes, normalised, differentiable in the pixels."""
    # Decoded from the one stored image that holds it: number t * m + i is tile t of stored image i.
    tile, row = divmod(number, len(synthetic.pixels[0]))
    chosen = torch.arange(tile, tile + 1, device=synthetic.pixels[0].device)
    images = [decode(synthetic.pixels[label][row : row + 1], synthetic.factor, chosen) for label in classes]
    return normalise(torch.cat(images), synthetic.mean, synthetic.std)


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """Return the layers that remember the statistics of what they read, in the order of their definition."""
    return [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.running_mean is not None]


def read(network: Classifier, images: Float[Tensor, "b c h w"]) -> tuple[Float[Tensor, "b k"], list[Tensor]]:
    """Return the logits of normalised images, and what every batch-norm layer of `batch_norms` reads on the way."""
    layers, seen = batch_norms(network), dict[nn.Module, Tensor]()
    handles = [layer.register_forward_pre_hook(lambda layer, given: seen.update({layer: given[0]})) for layer in layers]
    try:
        logits = network(images)
    finally:
        for handle in handles:
            handle.remove()
    return logits, [seen[layer] for layer in layers]


def remembered(network: Classifier) -> Statistics:
    """Return the mean and variance that every batch-norm layer remembers of the network's training."""
    return [(layer.running_mean, layer.running_var) for layer in batch_norms(network)]  # type: ignore[misc]


@torch.no_grad()
def of_window(network: Classifier, real: RealBatches) -> Statistics:
    """Return the mean and variance of what every batch-norm layer reads of the window's images, by their weights."""
    share = real.weights.double() / real.weights.double().sum()
    sums: list[Tensor] = []
    for batch in torch.nonzero(real.weights > 0).flatten().split(_READ_BATCH):
        _, inputs = read(network, real.data.inputs(batch))
        pixels = [x.flatten(2).double() if x.dim() > 2 else x[:, :, None].double() for x in inputs]
        powers = [torch.stack([x.mean(2), x.square().mean(2)]) for x in pixels]
        parts = [(share[batch][:, None] * power).sum(1) for power in powers]
        sums = [total + part for total, part in zip(sums, parts, strict=True)] if sums else parts
    kind = next(network.parameters()).dtype
    return [(mean.to(kind), (square - mean.square()).to(kind)) for mean, square in sums]


@final
class _Teacher:
    """A network in evaluation mode, and the statistics of the window in it once somebody has asked for them."""

    def __init__(self, blank: Classifier, train: Callable[[], Classifier]) -> None:
        self._blank = blank
        self._train = train
        self._trained: Classifier | None = None
        self._window: Statistics = ()

    @property
    def network(self) -> Classifier:
        # Trained when it is first needed: a run that goes on takes it from its checkpoint.
        if self._trained is None:
            self._trained = self._train().eval().requires_grad_(False)
        return self._trained

    def window(self, real: RealBatches) -> Statistics:
        self._window = self._window or of_window(self.network, real)
        return self._window

    def tensors(self) -> dict[str, Tensor]:
        network = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        means = {f"mean.{i}": mean for i, (mean, _) in enumerate(self._window)}
        return network | means | {f"variance.{i}": variance for i, (_, variance) in enumerate(self._window)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        weights = {name.removeprefix("network."): v for name, v in tensors.items() if name.startswith("network.")}
        self._blank.load_state_dict(weights)
        self._trained = self._blank.eval().requires_grad_(False)
        device = next(self._blank.parameters()).device
        count = sum(name.startswith("mean.") for name in tensors)
        self._window = [(tensors[f"mean.{i}"].to(device), tensors[f"variance.{i}"].to(device)) for i in range(count)]
