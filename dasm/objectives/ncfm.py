"""Characteristic functions (NCFM, Wang et al., CVPR 2025, arXiv 2502.20653).

For every class, the empirical characteristic functions of the embeddings of a real and of a synthetic batch, scaled to
length 1, should agree in amplitude and phase at sampled frequencies, as a random mixture of an untrained and a trained
network sees them; and the trained network should classify the synthetic images correctly (calibration). NCFM decodes
with factor 2. Differences from the paper and its released code:

1. Frequencies are Gaussian, as in the released settings; the paper also learns a network that samples them against the
   pixels.
2. All classes and both terms move the pixels in one AdamW step; the code makes one step per class and term over all
   pixels, where the other classes move by the moments alone.
3. The pixel rate is constant; the code halves it when the loss stops falling for 500 iterations.
4. The networks are trained here, from all real images, with the recipe of the trainer; the code reads them from files.
5. Real batches run through the window epoch by epoch instead of being drawn anew every time.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dasm import rng
from dasm.augment import Operation
from dasm.errors import at_least, within
from dasm.networks import Classifier
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.objective_parts.features import siamese_pairs
from dasm.objective_parts.shared import SharedTransforms
from dasm.objectives import Objective, State, Surroundings
from dasm.pixels import PixelRule
from dasm.train import Trainer
from dasm.types import LabelledImages

# The code multiplies the discrepancy by it; against the calibration it matters.
_SCALE = 300.0


@final
@dataclass(frozen=True, kw_only=True)
class NCFM(Objective):
    """Discrepancy of characteristic functions of embeddings, and calibration by trained networks.

    Attributes:
        frequencies: sampled for every class and iteration, in [1, 1e6] (1024 in the paper, 4096 for CIFAR-10 in the
            code).
        amplitude: weight of the difference of amplitudes, in [0, 1]; the rest weighs the difference of phases.
        calibration: weight of the trained network's mean cross-entropy on the synthetic batch, >= 0.
        networks: pairs of an untrained and a trained network, >= 1, one of which is mixed for every iteration.
        epochs: that each is trained for, >= 1.
        real_batch: real images per class and iteration, >= 1 (1024 in NCFM); a smaller window is taken whole.
        synthetic_batch: decoded synthetic images per class and iteration at most, >= 1; None takes all of them (NCFM).
        augmentation: shared by both sides, one draw per class and iteration, and another for the calibration.
    """

    learns_from_real: ClassVar[bool] = True

    frequencies: int = 1024
    amplitude: float = 0.5
    calibration: float = 1.0
    networks: int = 20
    epochs: int = 60
    real_batch: int = 1024
    synthetic_batch: int | None = None
    augmentation: tuple[Operation, ...] = ("color", "crop", "cutout")

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        within(self, "[1, 1e6]", "frequencies")
        at_least(self, 1, "networks", "epochs", "real_batch", "synthetic_batch")
        within(self, "[0, 1]", "amplitude")
        at_least(self, 0, "calibration")

    @property
    def asks_prefix(self) -> bool:
        return False

    @property
    def rule(self) -> PixelRule:
        return PixelRule(kind="adamw", learning_rate=1e-3, momentum=0.9, decay=5e-4)

    def prepare(self, real: LabelledImages, trainer: Trainer, stream: int, surroundings: Surroundings) -> State:  # noqa: ARG002
        steps = self.epochs * -(-len(real) // trainer.recipe.batch_size)
        shared = SharedTransforms(self.augmentation, real, stream)
        own = SharedTransforms(self.augmentation, real, stream, name="calibration")
        pool = rng.derive(stream, "pool")
        return _Pool(real, trainer, pool, size=self.networks, steps=steps, transforms=(shared, own))

    def distances(
        self, state: State, real: RealBatches, synthetic: SyntheticBatches, iteration: int, draw: int
    ) -> Iterator[Float[Tensor, ""]]:
        assert isinstance(state, _Pool), "a state is only used by the objective that made it"
        mixed, trained = state.mix(rng.derive(draw, "network"))
        device, (shared, own) = real.data.labels.device, state.transforms
        pairs = siamese_pairs(
            real,
            synthetic,
            sizes=(self.real_batch, self.synthetic_batch),
            shared=shared,
            iteration=iteration,
            stream=draw,
        )
        for label, (theirs, ours) in enumerate(pairs):
            with torch.no_grad():
                target = mixed.features(theirs)
            features = mixed.features(ours)
            generator = rng.generator(draw, "frequencies", label, device=device)
            shape = self.frequencies, features.shape[1]
            frequencies = torch.randn(shape, generator=generator, device=device).to(features)
            value = _SCALE * discrepancy(features, target, frequencies, self.amplitude)
            if self.calibration:
                transform = own.of_class(label, iteration, draw)
                images = synthetic.draw(label, self.synthetic_batch, iteration)
                logits = trained(transform.repeat(len(images))(images))
                value = value + self.calibration * F.cross_entropy(logits, torch.full_like(logits[:, 0], label).long())
            yield value


def discrepancy(
    synthetic: Float[Tensor, "s d"], real: Float[Tensor, "r d"], frequencies: Float[Tensor, "t d"], amplitude: float
) -> Float[Tensor, ""]:
    """Return the mean discrepancy of two empirical characteristic functions of features on the unit sphere.

    Args:
        synthetic: features of one batch.
        real: features of the other.
        frequencies: where the functions are compared.
        amplitude: weight of the squared difference of amplitudes; the rest weighs twice their product times 1 - cosine
            of the difference of phases.
    """
    s, r = (_characteristic(features, frequencies) for features in (synthetic, real))
    # The norm of a vector has a gradient at zero, unlike a square root.
    (s_size, r_size) = (values.norm(dim=0) for values in (s, r))
    amplitudes = (s_size - r_size).square()
    phases = 2 * (s_size * r_size - (s * r).sum(0))
    # 1e-12 as in NCFM, where it bounds the phases alone: no root of a zero, which has no slope.
    both = amplitude * amplitudes + (1 - amplitude) * phases.clamp(min=1e-12)
    return both.clamp(min=(1 - amplitude) * 1e-12 or 1e-12).sqrt().mean()


def _characteristic(features: Float[Tensor, "b d"], frequencies: Float[Tensor, "t d"]) -> Float[Tensor, "2 t"]:
    angles = F.normalize(features, dim=1) @ frequencies.T
    return torch.stack([angles.cos().mean(0), angles.sin().mean(0)])


@final
class _Pool:
    """Pairs of an untrained and a trained network, which stay as they are; trained when they are first needed."""

    def __init__(
        self,
        real: LabelledImages,
        trainer: Trainer,
        stream: int,
        *,
        size: int,
        steps: int,
        transforms: tuple[SharedTransforms, SharedTransforms],
    ) -> None:
        self.transforms = transforms
        self._real, self._trainer, self._steps = real, trainer, steps
        self._streams = [rng.derive(stream, number) for number in range(size)]
        self._untrained = [trainer.start(real, each).network for each in self._streams]
        self._mixed = trainer.start(real, stream).network.eval()
        self._found: list[Classifier] = []

    @property
    def _trained(self) -> list[Classifier]:
        # A run that goes on takes them from its checkpoint.
        self._found = self._found or [self._trainer.train(self._real, self._steps, each)[0] for each in self._streams]
        return self._found

    def mix(self, stream: int) -> tuple[Classifier, Classifier]:
        """Return a mixture of a random pair, and the trained one of the two."""
        generator = rng.generator(stream)
        number = int(torch.randint(len(self._streams), (), generator=generator))
        untrained, trained = self._untrained[number], self._trained[number]
        share = float(torch.rand((), generator=generator))
        last = trained.state_dict()
        for name, value in untrained.state_dict().items():
            if value.is_floating_point():
                last[name] = torch.lerp(value, last[name], share)
        self._mixed.load_state_dict(last)
        return self._mixed, trained

    def tensors(self) -> dict[str, Tensor]:
        weights = enumerate(network.state_dict() for network in self._trained)
        return {f"trained.{number}.{name}": value for number, all_ in weights for name, value in all_.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self._found = []
        for number in range(len(self._streams)):
            prefix = f"trained.{number}."
            weights = {name.removeprefix(prefix): v for name, v in tensors.items() if name.startswith(prefix)}
            self._found.append(self._trainer.copy(weights, self._real))
