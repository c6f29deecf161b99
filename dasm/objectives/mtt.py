"""Matching training trajectories (MTT, Cazenavette et al., CVPR 2022, arXiv 2203.11932), with DATM's ranges.

A student starts from an expert's weights after some epoch and takes a few steps on the synthetic images; it should end
where the expert ended some epochs of real images later. Its step size is learned with the pixels. DATM (arXiv
2310.05773) draws the epoch from a range that moves from easy to hard and skips students that end up too far away.
Differences from MTT's and DATM's released code:

1. No ZCA whitening. Augmentation is in IDC's order, where DSA's released code applies one operation per batch.
2. Pixels are put back into [0, 1] before every update, because segments are stored as 8-bit images; MTT never does.
3. The expert is drawn anew at every iteration instead of run through.
4. A skipped iteration (`threshold`) leaves the step size alone, but pixels coast on their momentum.
5. The learned step size is recorded with the segment; every set is judged by the common protocol. Labels stay hard.
6. A learned step size that falls to zero or below ends the segment with an error; there students then go uphill.
7. The graph of one step at a time is in memory, and the gradient is exact all the same (`dasm.objective_parts.unroll`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dasm import rng
from dasm.augment import Operation
from dasm.augment import draw as draw_transform
from dasm.errors import at_least, require, within
from dasm.networks import Classifier
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
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
    augmentation: tuple[Operation, ...] = ("flip", "color", "crop", "scale", "rotate", "cutout")
    unroll: Literal["constant", "full"] = "constant"

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        at_least(self, 1, "student_steps", "expert_epochs", "expansion_end", "synthetic_batch")
        at_least(self, 0, "min_start_epoch")
        within(self, "[0, 1)", "step_size_momentum")
        within(self, "[0, 1e9]", "step_size_rate")
        within(self, "(0, 1e9]", "step_size")
        first = self.max_start_epoch if self.current_max_start_epoch is None else self.current_max_start_epoch
        rule = "start epochs must be min_start_epoch < current_max_start_epoch <= max_start_epoch"
        epochs = (self.min_start_epoch, first, self.max_start_epoch)
        require(self.min_start_epoch < first <= self.max_start_epoch, rule, epochs)
        require(self.threshold is None or self.threshold > 0, "threshold must be > 0", self.threshold)

    @property
    def asks_prefix(self) -> bool:
        return False

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
        return _Student(network, experts, self.step_size)

    def distances(
        self,
        state: State,
        real: RealBatches,  # noqa: ARG002 - the window has already acted, on the experts
        synthetic: SyntheticBatches,
        iteration: int,
        draw: int,
    ) -> Iterator[Float[Tensor, ""]]:
        assert isinstance(state, _Student), "a state is only used by the objective that made it"
        if state.rate.device.type == "cpu":
            state.check()  # a GPU would have to wait: there, whenever a checkpoint is written, and at the end
        images = torch.cat([synthetic.draw(label, None, iteration) for label in range(len(synthetic.pixels))])
        classes = torch.arange(len(synthetic.pixels), device=images.device)
        start, target = self._ends(state.experts, iteration, rng.generator(draw, "expert"))
        journey = Journey(
            network=state.network,
            start=brought(start, images.device),
            target=brought(target, images.device),
            images=images.detach(),
            labels=classes.repeat_interleave(len(images) // len(classes)),
            steps=self._steps(images, draw),
            rate=state.rate,
        )
        distance, pixels, slope = journey.constant() if self.unroll == "constant" else journey.full()
        # Without asking a GPU whether it is: zeros, and everything stays as it was.
        skipped = None if self.threshold is None else distance > self.threshold
        # The gradient is known already: a scalar of that value with that gradient.
        carrier = (images * (pixels if skipped is None else pixels.masked_fill(skipped, 0))).sum()
        yield distance + (carrier - carrier.detach())
        state.learn(slope, self.step_size_rate, self.step_size_momentum, skipped)

    def finish(self, state: State, images: LabelledImages) -> Extras:  # noqa: ARG002
        assert isinstance(state, _Student), "a state is only used by the objective that made it"
        state.check()
        return Extras(learned_rate=float(state.rate))

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


@final
class _Student:
    """The step size with its momentum, beside the experts and a network that lends its shape."""

    def __init__(self, network: Classifier, experts: Sequence[Float[Tensor, "e p"]], rate: float) -> None:
        self.network = network.train()
        self.experts = experts
        # Double, because its updates are far smaller than itself.
        self.rate = torch.tensor(rate, dtype=torch.float64, device=next(network.parameters()).device)
        self._velocity = torch.zeros_like(self.rate)
        self._lowest = self.rate

    def learn(
        self, slope: Float[Tensor, ""], learning_rate: float, momentum: float, skipped: Bool[Tensor, ""] | None
    ) -> None:
        velocity = momentum * self._velocity + slope
        rate = self.rate - learning_rate * velocity
        if skipped is not None:
            velocity, rate = torch.where(skipped, self._velocity, velocity), torch.where(skipped, self.rate, rate)
        self._velocity, self.rate = velocity, rate
        self._lowest = torch.minimum(self._lowest, rate)

    def check(self) -> None:
        """Refuse to go on once the step size has been zero or less: the pixels have learnt from students that climb."""
        lowest = float(self._lowest)
        rule = "objective: step_size of mtt must stay > 0 as it is learned"
        require(lowest > 0, rule, lowest, "a smaller step_size_rate, or 0 to keep it")

    def tensors(self) -> dict[str, Tensor]:
        self.check()
        return {"rate": self.rate, "velocity": self._velocity}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.rate, self._velocity = (tensors[name].to(self.rate) for name in ("rate", "velocity"))
        self._lowest = self.rate
