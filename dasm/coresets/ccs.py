"""Coverage-centric coreset selection: without the hardest, and then from every stratum of difficulty (CCS, 2210.15809).

Of each class the hardest share is cut. The rest is divided into bins of equal width by score. From the smallest bin to
the largest, each gives as many images as it has, but no more than an equal part of those still wanted; inside a bin
they are drawn at random. Bins take turns, so that a prefix covers as many strata as it can; it is not the rule's own
choice for its size.

Deviations from the paper:
1. Class by class, so that the coreset is balanced; the paper bins all classes together.
2. The cut leaves at least the wanted images. The paper picks a cut for every budget: 0.3 for a tenth of the images,
   less for more.
3. Margins of logits; the released code takes those of probabilities.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dasm import rng
from dasm.coresets import Guide, Picked, hardest_first
from dasm.errors import within
from dasm.scores import Score
from dasm.scores.aum import AUM
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class CCS(Picked):
    """Stratified picks.

    Attributes:
        score: what hard means.
        cut: share of each class, from the hardest down, that is left out, in [0, 1).
        bins: strata, in [1, 1e6].
    """

    nested: ClassVar[bool] = False
    score: Score = AUM()  # noqa: RUF009 - a frozen value
    cut: float = 0.3
    bins: int = 50

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        within(self, "[0, 1)", "cut")
        within(self, "[1, 1e6]", "bins")

    @property
    def asked(self) -> Score:
        return self.score

    def __call__(self, real: LabelledImages, count: int, seed: int, guide: Guide) -> Int64[Tensor, "k t"]:
        score, stream = guide.score(self.score, real), rng.derive(seed, "ccs")
        rows = []
        for label, order in enumerate(hardest_first(real, score, count, stream)):
            kept = order[min(int(self.cut * len(order) + 1e-9), len(order) - count) :]
            rows.append(kept[_stratified(score[kept], self.bins, count, rng.generator(stream, "picks", label))])
        return torch.stack(rows)


def _stratified(score: Float[Tensor, " n"], bins: int, count: int, generator: torch.Generator) -> Int64[Tensor, " t"]:
    low, high = score.min(), score.max()
    width = (high - low) / bins if bool(low < high) else 1.0
    stratum = ((score - low) / width).long().clamp(max=bins - 1)
    budgets = _budgets(stratum.bincount(minlength=bins), count)
    turn = torch.zeros(len(score), dtype=torch.long)
    for number in range(bins):
        mine = torch.nonzero(stratum == number).flatten()
        turn[mine] = torch.randperm(len(mine), generator=generator)
    # In turns: the first of every stratum, the second of every stratum; the strata themselves in random order.
    order = torch.argsort(turn * bins + torch.randperm(bins, generator=generator)[stratum])
    return order[turn[order] < budgets[stratum[order]]]


def _budgets(sizes: Int64[Tensor, " b"], count: int) -> Int64[Tensor, " b"]:
    budgets = torch.zeros_like(sizes)
    for done, number in enumerate(torch.argsort(sizes, stable=True).tolist()):
        budgets[number] = min(int(sizes[number]), count // (len(sizes) - done))
        count -= int(budgets[number])
    return budgets
