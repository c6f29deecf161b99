"""IDC's initial images without any optimisation: real images reduced and tiled, at the same storage.

The baseline nobody reports (IDC's `mix` initialisation, arXiv 2205.14959): without it, what a distilled mosaic gains by
holding f * f times as many images cannot be told from what distillation adds. With a window it is what distillation
under that window starts from, which tells what the choice of images gains by itself.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor

from dasm import rng
from dasm.coresets import Guide, Picked
from dasm.initial import choose_sources
from dasm.scores import Score
from dasm.scores.loss import Loss
from dasm.selection import Selection
from dasm.types import LabelledImages
from dasm.windows import Window


@final
@dataclass(frozen=True, kw_only=True)
class Mosaic(Picked):
    """The very images that distillation starts from.

    Without a window in its very order. Under one all of them together are what a joint arm with `first_window: window`
    starts from, and a prefix is a random part of it.

    Attributes:
        window: which images are taken, by how hard they are for the networks of state 0; None for any.
        score: what hard means for the window.
    """

    window: Window | None = None
    score: Score = Loss()  # noqa: RUF009 - a frozen value

    @property
    def asked(self) -> Score | None:
        return self.score if self.window else None

    def tiles(self, factor: int) -> int:
        return factor

    def __call__(self, real: LabelledImages, count: int, seed: int, guide: Guide) -> Int64[Tensor, "k t"]:
        stream, nobody = rng.derive(seed, "initial"), torch.zeros(0, dtype=torch.long)
        if self.window is None:
            return choose_sources(real, torch.ones(len(real)), None, count, nobody, stream)
        difficulty = guide.difficulty(self.score, real)
        weights = Selection(score=self.score, window=self.window, first_window="window").weigh(
            difficulty, first=None, segments=0, prefix_ipc=0, planned_ipc=count, seed=seed
        )
        rows = choose_sources(real, weights, difficulty.rank, count, nobody, stream)
        # A window's images come from easy to hard; the first of them alone would be the easiest.
        order = [torch.randperm(count, generator=rng.generator(stream, "turns", label)) for label in range(len(rows))]
        return rows.gather(1, torch.stack(order))
