"""The best window of difficulty: as many images in a row, by score, as are wanted (SelMatch, arXiv 2406.18561).

Each class is sorted from hard to easy; the window begins a share of the class below the hardest image. Its place is the
one with the highest accuracy on the validation split, the harder one if two are equal. A prefix is a window at the same
place, which need not be the best one for its size.

Deviations from SelMatch:
1. The place is chosen on validation images; the paper's sweep looks at the test set ("oracle window").
2. A start counts in shares of the class, as the paper's sweeps mean it; the released code counts in shares of the
   wanted images, far nearer to the hardest end (`unit: count`).
3. Ranked by forgetting, as the paper does for Tiny-ImageNet; C-scores, used for CIFAR, take thousands of trainings.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Int64
from torch import Tensor

from dasm import rng
from dasm.coresets import Guide, Picked, hardest_first
from dasm.errors import require
from dasm.scores import Score
from dasm.scores.forgetting import Forgetting
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class SlidingWindow(Picked):
    """The window of real images that trains best.

    Attributes:
        score: what hard means.
        starts: places to try, in [0, 1); those without room for the wanted images are passed over.
        unit: what a start is a share of: the `class`, or the `count` of wanted images.
    """

    nested: ClassVar[bool] = False
    score: Score = Forgetting()  # noqa: RUF009 - a frozen value
    starts: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    unit: Literal["class", "count"] = "class"

    def __post_init__(self) -> None:
        """Refuse a sweep of nothing, or beyond the class."""
        require(bool(self.starts), "starts must be at least one", self.starts)
        require(all(0 <= start < 1 for start in self.starts), "starts must lie in [0, 1)", self.starts)

    @property
    def asked(self) -> Score:
        return self.score

    def __call__(self, real: LabelledImages, count: int, seed: int, guide: Guide) -> Int64[Tensor, "k t"]:
        score = guide.score(self.score, real)
        orders = hardest_first(real, score, count, rng.derive(seed, "window"))
        sets = []
        for start in sorted(self.starts):
            firsts = [int(start * (len(order) if self.unit == "class" else count) + 1e-9) for order in orders]
            if all(first + count <= len(order) for first, order in zip(firsts, orders, strict=True)):
                rows = [order[first : first + count] for first, order in zip(firsts, orders, strict=True)]
                sets.append(torch.stack(rows))
        require(bool(sets), f"starts must leave room for {count} images of every class", self.starts)
        return sets[0] if len(sets) == 1 else max(sets, key=guide.judge)
