"""Matching training trajectories (MTT, Cazenavette et al., CVPR 2022, arXiv 2203.11932), with parts of DATM and PAD.

A student starts from an expert's weights after some epoch and takes a few steps on the synthetic images; it should end
where the expert ended some epochs of real images later. Its step size is learned with the pixels. DATM (arXiv
2310.05773) draws the epoch from a range that moves from easy to hard, skips students that end up too far away, and
learns soft labels. PAD (arXiv 2408.03360) leaves shallow layers out of the distance. Differences from released code:

1. No ZCA whitening. Augmentation is in IDC's order, where DSA's released code applies one operation per batch.
2. Pixels are put back into [0, 1] before every update, because segments are stored as 8-bit images; MTT never does.
3. The expert is drawn anew at every iteration instead of run through.
4. A skipped iteration (`threshold`) leaves the step size alone, but pixels coast on their momentum.
5. The learned step size is recorded with the segment; every set is judged by the common protocol.
6. A learned step size that falls to zero or below ends the segment with an error; there students then go uphill.
7. The graph of one step at a time is in memory, and the gradient is exact all the same (`dasm.objective_parts.unroll`).
8. Labels are hard by default (C9). Learnt ones are those of decoded images, so each is learnt with the image that
   networks see; images that no expert is right about have a rule of their own (`dasm.objective_parts.labels`).
9. Images start where every segment's do (A9), not only from those that an expert classifies correctly, as in DATM.
10. In a union with frozen segments, the images of these keep the labels that they were frozen with.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm import rng
from dasm.augment import Operation
from dasm.augment import draw as draw_transform
from dasm.errors import at_least, require, within
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.objective_parts.labels import LearntLabels
from dasm.objective_parts.traveller import Traveller
from dasm.objective_parts.unroll import Journey, Step
from dasm.objectives import Extras, Objective, State, Surroundings
from dasm.pixels import PixelRule
from dasm.steps.blocks import brought
from dasm.train import Trainer, epoch_batch
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class MTT(Objective):
    """Normalised distance between where a student and where an expert end up.

    Attributes:
        student_steps: N, steps of the student on synthetic images, >= 1 (20 in MTT).
        expert_epochs: M, epochs of the expert on real images, >= 1 (3 in MTT).
        min_start_epoch: the earliest epoch to start from, >= 0 (0 in MTT).
        max_start_epoch: the first epoch not to start from, > `min_start_epoch` (25 in MTT).
        current_max_start_epoch: that of the first iteration, if the range grows (DATM), in (`min_start_epoch`,
            `max_start_epoch`]; None has it whole at once.
        expansion_end: iteration at which a growing range is whole, >= 1 (1000 or 2000 in most of DATM's
            settings).
        threshold: distance above which an iteration is skipped, > 0 (1 in DATM); None skips none.
        synthetic_batch: decoded images per step, all classes together, >= 1; None takes all, as MTT does by default.
        step_size: alpha of the student at the first iteration, in (0, 1e9] (0.01 in MTT).
        step_size_rate: learning rate of alpha, in [0, 1e9] (1e-5 in MTT); 0 keeps it fixed. Alpha has to stay > 0.
        step_size_momentum: of alpha's SGD, in [0, 1) (0.5 in MTT).
        label_rate: learning rate of the logits of soft labels, in [0, 1e9] (2, 5 or 10 in DATM); 0 keeps what the
            experts say. None, as in MTT, leaves labels hard.
        label_momentum: of the logits' SGD, in [0, 1) (0.9 in DATM).
        skipped_share: alpha, share of the weights that the distance leaves out, the first ones in the order of
            `parameters()`, in [0, 1) (PAD, CIFAR-10: 0, 0.25, 0.25, 0.5, 0.75 at 1, 10, 50, 500, 1000 images per
            class). Of p numbers floor(alpha p) are left out, be it in the middle of a layer, as in PAD's code.
        augmentation: of the student, drawn per image and step.
        unroll: `constant` recomputes every step's graph when it is needed, `full` keeps all of them. The gradient is
            the same.
    """

    student_steps: int = 20
    expert_epochs: int = 3
    min_start_epoch: int = 0
    max_start_epoch: int = 25
    current_max_start_epoch: int | None = None
    expansion_end: int = 3000
    threshold: float | None = None
    synthetic_batch: int | None = None
    step_size: float = 0.01
    step_size_rate: float = 1e-5
    step_size_momentum: float = 0.5
    label_rate: float | None = None
    label_momentum: float = 0.9
    skipped_share: float = 0.0
    augmentation: tuple[Operation, ...] = ("flip", "color", "crop", "scale", "rotate", "cutout")
    unroll: Literal["constant", "full"] = "constant"

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        at_least(self, 1, "student_steps", "expert_epochs", "expansion_end", "synthetic_batch")
        at_least(self, 0, "min_start_epoch")
        within(self, "[0, 1)", "step_size_momentum", "label_momentum", "skipped_share")
        within(self, "[0, 1e9]", "step_size_rate", "label_rate")
        within(self, "(0, 1e9]", "step_size")
        first = self.max_start_epoch if self.current_max_start_epoch is None else self.current_max_start_epoch
        rule = "start epochs must be min_start_epoch < current_max_start_epoch <= max_start_epoch"
        epochs = (self.min_start_epoch, first, self.max_start_epoch)
        require(self.min_start_epoch < first <= self.max_start_epoch, rule, epochs)
        require(self.threshold is None or self.threshold > 0, "threshold must be > 0", self.threshold)

    @property
    def asks_prefix(self) -> bool:
        return self.label_rate is not None

    @property
    def epochs_needed(self) -> int:
        return self.max_start_epoch - 1 + self.expert_epochs

    @property
    def rule(self) -> PixelRule:
        return PixelRule(learning_rate=1000.0, momentum=0.5, normalised=True)

    def prepare(self, real: LabelledImages, trainer: Trainer, stream: int, surroundings: Surroundings) -> State:
        network, experts = trainer.start(real, stream).network, surroundings.experts
        rows, width = experts[0].shape
        rule = f"experts must have at least {self.epochs_needed} epochs (max_start_epoch - 1 + expert_epochs)"
        require(rows > self.epochs_needed, rule, rows - 1)
        weights = sum(parameter.numel() for parameter in network.parameters())
        require(width == weights, f"experts must have {weights} weights, as the matching network", width)
        labels = None
        if self.label_rate is not None:
            labels = LearntLabels(
                network,
                experts,
                rate=self.label_rate,
                momentum=self.label_momentum,
                batch=self.synthetic_batch,
                prefix=surroundings.prefix,
                stream=rng.derive(stream, "labels"),
            )
        return Traveller(network, experts, self.step_size, labels)

    def distances(
        self,
        state: State,
        real: RealBatches,  # noqa: ARG002 - the window has already acted, on the experts
        synthetic: SyntheticBatches,
        iteration: int,
        draw: int,
    ) -> Iterator[Float[Tensor, ""]]:
        assert isinstance(state, Traveller), "a state is only used by the objective that made it"
        if state.rate.device.type == "cpu":
            state.check()  # a GPU would have to wait: there, whenever a checkpoint is written, and at the end
        images, labels = state.shown(synthetic, iteration)
        start, target = self._ends(state.experts, iteration, rng.generator(draw, "expert"))
        journey = Journey(
            network=state.network,
            start=brought(start, images.device),
            target=brought(target, images.device),
            images=images.detach(),
            labels=labels,
            steps=self._steps(images, draw),
            rate=state.rate,
            unmatched=int(self.skipped_share * len(start)),
        )
        distance, pixels, slope, turn = journey.constant() if self.unroll == "constant" else journey.full()
        # Without asking a GPU whether it is: zeros, and everything stays as it was.
        skipped = None if self.threshold is None else distance > self.threshold
        # The gradient is known already: a scalar of that value with that gradient.
        carrier = (images * (pixels if skipped is None else pixels.masked_fill(skipped, 0))).sum()
        yield distance + (carrier - carrier.detach())
        state.learn(slope, self.step_size_rate, self.step_size_momentum, skipped)
        if state.labels is not None and turn is not None:
            state.labels.learn(turn, skipped)

    def finish(self, state: State, images: LabelledImages) -> Extras:
        assert isinstance(state, Traveller), "a state is only used by the objective that made it"
        state.check()
        labels = None if state.labels is None else state.labels.of(images)
        return Extras(learned_rate=float(state.rate), soft_labels=labels)

    def start_epochs(self, iteration: int) -> range:
        """Return the epochs that a student may start from at an iteration."""
        last = self.max_start_epoch
        if self.current_max_start_epoch is not None:
            grown = (last - self.current_max_start_epoch) * iteration // self.expansion_end
            last = min(last, self.current_max_start_epoch + grown)
        return range(self.min_start_epoch, last)

    def _ends(self, experts: Sequence[Tensor], iteration: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        epochs = self.start_epochs(iteration)
        expert = experts[int(torch.randint(len(experts), (), generator=generator))]
        epoch = int(torch.randint(epochs.start, epochs.stop, (), generator=generator))
        # Copied: an expert may be mapped from a file.
        return expert[epoch].clone(), expert[epoch + self.expert_epochs].clone()

    def _steps(self, images: Float[Tensor, "n c h w"], draw: int) -> list[Step]:
        (n, c, h, w), device = images.shape, images.device
        size = min(self.synthetic_batch or n, n)
        orders = [epoch_batch(n, size, step, rng.derive(draw, "order")) for step in range(self.student_steps)]
        streams = [rng.generator(draw, "student", step, device=device) for step in range(self.student_steps)]
        sizes = [len(order) for order in orders]
        return [
            (order, draw_transform(self.augmentation, len(order), (c, h, w), stream))
            for order, stream in zip(brought(torch.cat(orders), device).split(sizes), streams, strict=True)
        ]
