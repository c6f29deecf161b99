"""IDC's initial images without any optimisation: real images reduced and tiled, at the same storage.

The baseline nobody reports (IDC's `mix` initialisation, arXiv 2205.14959): without it, what a distilled mosaic gains by
holding f * f times as many images cannot be told from what distillation adds.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor

from dasm import rng
from dasm.coresets import Guide, Picked
from dasm.initial import choose_sources
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class Mosaic(Picked):
    """The very images, in the very order, that distillation without a window starts from."""

    def tiles(self, factor: int) -> int:
        return factor

    def __call__(self, real: LabelledImages, count: int, seed: int, guide: Guide) -> Int64[Tensor, "k t"]:  # noqa: ARG002
        everyone, nobody = torch.ones(len(real)), torch.zeros(0, dtype=torch.long)
        return choose_sources(real, everyone, None, count, nobody, rng.derive(seed, "initial"))
