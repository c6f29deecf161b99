"""What an objective draws from: class batches of real images under a window, and of decoded synthetic images.

Every draw is a function of the stream and the number of the iteration, so an interrupted run goes on as if nothing had
happened.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dasm import rng
from dasm.errors import ConfigError
from dasm.formation import decode, decoded_count
from dasm.types import LabelledImages, normalise


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class RealBatches:
    """Batches of one class of the real set, drawn by the window's weights.

    A hard window (all positive weights of a class equal) is run through without replacement, epoch after epoch, with
    the last partial batch dropped, as IDC (arXiv 2205.14959) runs through a class. A soft one is drawn anew for every
    batch, without replacement inside the batch, with probability proportional to the weights.

    Attributes:
        data: the real set.
        weights: >= 0, one per real image.
        stream: of the draws.
    """

    data: LabelledImages
    weights: Float[Tensor, " n"]
    stream: int
    _members: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse a window that leaves a class empty."""
        for label in range(self.data.num_classes):
            members = self.data.members(label)
            members = members[self.weights[members] > 0]
            if not len(members):
                raise ConfigError(f"window: must keep images of every class, got none of class {label}")
            self._members[label] = members

    def draw(self, label: int, batch_size: int, iteration: int) -> Float[Tensor, "b c h w"]:
        """Return normalised images of one class: `batch_size`, or the whole window if it holds fewer."""
        members = self._members[label]
        size = min(batch_size, len(members))
        weights = self.weights[members]
        if bool((weights == weights[0]).all()):
            epoch, position = divmod(iteration, len(members) // size)
            generator = rng.generator(self.stream, "class", label, epoch)
            order = torch.randperm(len(members), generator=generator)[position * size : (position + 1) * size]
        else:
            generator = rng.generator(self.stream, "class", label, iteration)
            order = torch.multinomial(weights.cpu(), size, generator=generator)
        return self.data.inputs(members[order.to(members.device)])


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SyntheticBatches:
    """Batches of one class of the segment being distilled, decoded and normalised, differentiable in its pixels.

    Attributes:
        pixels: stored pixels in [0, 1], one leaf tensor (m c h w) per class.
        frozen: stored pixels of earlier segments that are matched together with them, one tensor per class; or none.
        factor: multi-formation factor.
        mean: channel mean of the real set.
        std: channel standard deviation of the real set.
        stream: of the draws.
    """

    pixels: Sequence[Tensor]
    factor: int
    mean: Float[Tensor, " c"]
    std: Float[Tensor, " c"]
    stream: int
    frozen: Sequence[Tensor] = ()

    def draw(self, label: int, limit: int, iteration: int) -> Float[Tensor, "b c h w"]:
        """Return all decoded images of one class, or `limit` of them drawn without replacement if there are more."""
        stored = torch.cat([self.frozen[label], self.pixels[label]]) if self.frozen else self.pixels[label]
        count = decoded_count(len(stored), self.factor)
        chosen: Int64[Tensor, " b"] | None = None
        if count > limit:
            generator = rng.generator(self.stream, "class", label, iteration)
            chosen = torch.randperm(count, generator=generator)[:limit].to(stored.device)
        return normalise(decode(stored, self.factor, chosen), self.mean, self.std)
