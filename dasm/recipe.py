"""How a network learns: the numbers of `dasm.train`."""

from dataclasses import dataclass
from itertools import pairwise
from typing import final

from dasm.augment import Operation, others_than_one
from dasm.errors import at_least, require, within
from dasm.machine.precision import Precision


@final
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network learns; the defaults are IDC's.

    Attributes:
        batch_size: images per step, >= 1; smaller sets are taken whole.
        learning_rate: of SGD, at the start, in (0, 1e9].
        momentum: of SGD, in [0, 1).
        weight_decay: L2 penalty of SGD, >= 0.
        decay: factor of the learning rate at each of `decay_at`, in (0, 1]; in trainings of a known length alone, so
            not while a network learns between pixel updates (gradient, dc, dsa, cafe), which IDC does at one rate.
        decay_at: fractions of the steps, in [0, 1].
        augmentation: operations of `dasm.augment`, drawn per image. Leave `cutout` out when CutMix is on (IDC).
        cutmix: share of batches with CutMix (arXiv 1905.04899), in [0, 1].
        precision: of training and scoring. `fp32`; `tf32`, faster on a GPU and `fp32` elsewhere; `bf16`, faster still,
            for networks that are only trained and read: what is matched through a network is always `fp32`.
        captured: on a GPU, record a step once and replay it; otherwise launch every kernel of every step, which gives
            the same up to the order of sums and serves to find errors. No matter on a CPU.
    """

    batch_size: int = 64
    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay: float = 0.2
    decay_at: tuple[float, ...] = (2 / 3, 5 / 6)
    augmentation: tuple[Operation, ...] = ("flip", "color", "crop", "scale", "rotate")
    cutmix: float = 0.5
    precision: Precision = "fp32"
    captured: bool = True

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        at_least(self, 1, "batch_size")
        within(self, "(0, 1e9]", "learning_rate")
        within(self, "[0, 1)", "momentum")
        at_least(self, 0, "weight_decay")
        within(self, "(0, 1]", "decay")
        require(all(0 <= at <= 1 for at in self.decay_at), "decay_at must lie in [0, 1]", self.decay_at)
        within(self, "[0, 1]", "cutmix")
        if "one" in self.augmentation:
            others_than_one(self.augmentation)

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of step number `step` (from 0) out of `steps`."""
        return self.learning_rate * self.decay ** sum(step >= at * steps for at in self.decay_at)

    def at_one_rate(self, steps: range, total: int) -> list[range]:
        """Return the steps, cut wherever the learning rate changes."""
        cuts = [n for n in steps if n == steps.start or self.rate(n, total) != self.rate(n - 1, total)]
        return [range(a, b) for a, b in pairwise([*cuts, steps.stop])]
