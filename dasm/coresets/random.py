"""Real images drawn at random from each class, the first baseline since DC (arXiv 2006.05929)."""

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
class Random(Picked):
    """Class-balanced, without replacement, stored at full size."""

    def __call__(self, real: LabelledImages, count: int, seed: int, guide: Guide) -> Int64[Tensor, "k t"]:  # noqa: ARG002
        everyone, nobody = torch.ones(len(real)), torch.zeros(0, dtype=torch.long)
        return choose_sources(real, everyone, None, count, nobody, rng.derive(seed, "random"))
