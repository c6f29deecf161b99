"""Distribution matching (DM, Zhao & Bilen, WACV 2023, arXiv 2110.04181).

In the embedding space of a network drawn at random for every pixel update, the mean of every class of the synthetic set
should lie where that of the real set lies. No network is ever trained. Differences from DM's released code:

1. Pixels are clamped to [0, 1] after every update (DM never clamps), because segments are frozen as 8-bit images.
2. Real batches run through the window epoch by epoch instead of being drawn anew every time.
3. As many classes go through the network in one batch as memory allows; all of them, as in DM, where batches are
   normalised, and elsewhere it makes no difference.
4. Channels are divided by their deviation over all pixels; DM divides those of CIFAR by smaller numbers (0.20),
   so that at the same learning rate its pixels move 0.6 to 0.7 times as far as here.

DM's learning rate of the pixels is 1, but 10 for CIFAR-10 from 100 images per class on, over 20,000 updates.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm import rng
from dasm.augment import Operation
from dasm.errors import ConfigError, at_least
from dasm.machine import ranks
from dasm.networks import Classifier
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.objective_parts.features import class_means, groups, normalises_batches, siamese_pairs
from dasm.objective_parts.shared import SharedTransforms
from dasm.objectives import Objective, State, Surroundings
from dasm.pixels import PixelRule
from dasm.steps.blocks import brought
from dasm.train import Trainer
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class DM(Objective):
    """Squared distance between class means of random embeddings, summed over classes.

    Attributes:
        real_batch: real images per class and iteration, >= 1 (256 in DM); a smaller window is taken whole.
        synthetic_batch: decoded synthetic images per class and iteration at most, >= 1; None takes all of them (DM).
        augmentation: shared by both sides, one draw per class and iteration. DM leaves out `flip` for digits.
    """

    real_batch: int = 256
    synthetic_batch: int | None = None
    augmentation: tuple[Operation, ...] = ("one", "color", "crop", "cutout", "flip", "scale", "rotate")

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        at_least(self, 1, "real_batch", "synthetic_batch")

    @property
    def rule(self) -> PixelRule:
        return PixelRule(learning_rate=1.0, momentum=0.5, normalised=True)

    @property
    def asks_prefix(self) -> bool:
        return False

    @property
    def splits(self) -> bool:
        return True

    def prepare(self, real: LabelledImages, trainer: Trainer, stream: int, surroundings: Surroundings) -> State:  # noqa: ARG002
        state = _Networks(real, trainer, SharedTransforms(self.augmentation, real, stream))
        if ranks.count() > 1 and normalises_batches(state.fresh(stream)):
            raise ConfigError("objective: dm sees all classes in one batch-normalised batch, which cannot be split")
        return state

    def distances(
        self, state: State, real: RealBatches, synthetic: SyntheticBatches, iteration: int, draw: int
    ) -> Iterator[Float[Tensor, ""]]:
        assert isinstance(state, _Networks), "a state is only used by the objective that made it"
        pairs = siamese_pairs(
            real,
            synthetic,
            sizes=(self.real_batch, self.synthetic_batch),
            shared=state.shared,
            iteration=iteration,
            stream=draw,
        )
        if not ranks.mine(real.data.num_classes):
            return
        network = state.fresh(rng.derive(draw, "network"))
        for theirs, ours in groups(pairs, whole=normalises_batches(network)):
            with torch.no_grad():
                target = class_means(network.features(torch.cat(theirs)), [len(images) for images in theirs])
            means = class_means(network.features(torch.cat(ours)), [len(images) for images in ours])
            yield (means - target).square().sum()


@final
class _Networks:
    """Where networks come from; nothing passes from one pixel update to the next."""

    def __init__(self, real: LabelledImages, trainer: Trainer, shared: SharedTransforms) -> None:
        self.shared = shared
        self._like = real.subset(real.members(0)[:1]).to("cpu")
        self._device = real.labels.device
        self._trainer = trainer

    def fresh(self, stream: int) -> Classifier:
        network = self._trainer.start(self._like, stream).network
        for tensor in (*network.parameters(), *network.buffers()):
            tensor.data = brought(tensor.data, self._device)
        return network

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        del tensors
