"""Differentiable Siamese augmentation (DSA, Zhao & Bilen, ICML 2021, arXiv 2102.08259).

DC (arXiv 2006.05929) with one augmentation shared by both sides: for every class, the gradients of the classification
loss of a real and of the synthetic batch should point the same way, row by row of every weight, the classifier's
included. One operation is picked per class and iteration. The network learns from the synthetic set between pixel
updates. DSA's recipe for it: batch_size 256, learning_rate 0.01, momentum 0, weight_decay 0, the same augmentation
(drawn per image, the operation per batch), cutmix 0. Differences from DSA's released code:

1. Pixels are clamped to [0, 1] after every update (DSA never clamps), because segments are frozen as 8-bit images.
2. Real batches run through the window epoch by epoch instead of being drawn anew every time.
3. Sizes that DC's table of loops leaves out take the next larger one.
4. Batch-normalised networks are seen in training mode; DSA freezes their statistics first.
5. Channels are divided by their deviation over all pixels; DSA divides those of CIFAR by smaller numbers (0.20),
   so that at the same learning rate its pixels move 0.6 to 0.7 times as far as here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, final

from jaxtyping import Float
from torch import Tensor

from dasm import rng
from dasm.augment import Operation
from dasm.errors import at_least
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.objective_parts.condensation import RULE, Condensing, divisible, loops
from dasm.objective_parts.sampler import Sampler
from dasm.objectives import Objective, State, Surroundings
from dasm.pixels import PixelRule
from dasm.train import Trainer
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class DSA(Objective):
    """Cosine distance between class-wise gradients under Siamese augmentation.

    Attributes:
        real_batch: real images per class and iteration, >= 1 (256 in DSA); a smaller window is taken whole.
        synthetic_batch: decoded synthetic images per class and iteration at most, >= 1; None takes all of them (DSA).
        outer: pixel updates per network, >= 1; None takes DC's number for the images per class, which ends at 50.
        inner: epochs over the whole synthetic set between two pixel updates, >= 0; None likewise.
        augmentation: shared by both sides, one draw per class and iteration. DSA leaves out `flip` for digits.
        sampler: `random` batches of the window, or `representative` ones (DREAM, arXiv 2302.14416).
        refresh: pixel updates between two choices of representatives, >= 1 (10 in DREAM).
    """

    real_batch: int = 256
    synthetic_batch: int | None = None
    outer: int | None = None
    inner: int | None = None
    augmentation: tuple[Operation, ...] = ("one", "color", "crop", "cutout", "flip", "scale", "rotate")
    sampler: Literal["random", "representative"] = "random"
    refresh: int = 10

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        at_least(self, 1, "real_batch", "synthetic_batch", "outer", "refresh")
        at_least(self, 0, "inner")

    @property
    def rule(self) -> PixelRule:
        return RULE

    @property
    def splits(self) -> bool:
        return divisible(self.sampler)

    def check(self, images: int) -> None:
        loops(images, self.outer, self.inner)

    def prepare(self, real: LabelledImages, trainer: Trainer, stream: int, surroundings: Surroundings) -> State:
        sampler = Sampler(self.sampler, self.refresh, rng.derive(stream, "sampler"))
        return Condensing(
            real,
            trainer,
            stream,
            surroundings.prefix,
            loops=(self.outer, self.inner),
            sizes=(self.real_batch, self.synthetic_batch),
            sampler=sampler,
            augmentation=self.augmentation,
        )

    def distances(
        self, state: State, real: RealBatches, synthetic: SyntheticBatches, iteration: int, draw: int
    ) -> Iterator[Float[Tensor, ""]]:
        assert isinstance(state, Condensing), "a state is only used by the objective that made it"
        yield from state.distances(real, synthetic, iteration, draw)
