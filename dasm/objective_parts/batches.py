"""What an objective draws from: class batches of real images under a window, and of decoded synthetic images.

Every draw is a function of the stream and the number of the iteration, so an interrupted run goes on as if nothing had
happened.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dasm import rng
from dasm.classes import by_class
from dasm.errors import ConfigError
from dasm.formation import decode, decoded_count
from dasm.machine import ranks
from dasm.networks import Classifier, embed, finite
from dasm.steps.blocks import IndexBlocks
from dasm.steps.orders import permutation
from dasm.types import LabelledImages, normalise


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class RealBatches:
    """Batches of one class of the real set, drawn by the window's weights.

    A hard window (all positive weights of a class equal) is run through without replacement, epoch after epoch, with
    the last partial batch dropped, as IDC (arXiv 2205.14959) runs through a class. A soft one is drawn anew for every
    batch by systematic sampling (Madow, 1949): an image is expected as often as its weight says whatever the size of
    the batch, and comes twice only where that is more than once.

    Attributes:
        data: the real set.
        weights: >= 0, one per real image.
        stream: of the draws.
    """

    data: LabelledImages
    weights: Float[Tensor, " n"]
    stream: int
    _members: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)
    _weights: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False)
    _soft: dict[int, bool] = field(default_factory=dict, init=False, repr=False)
    _blocks: dict[int, IndexBlocks] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Find what depends on the weights alone, on the CPU, and refuse a window that leaves a class empty."""
        weights = self.weights.cpu()
        kept = torch.nonzero(weights > 0).flatten()
        for label, places in enumerate(by_class(self.data.labels.cpu()[kept], self.data.num_classes)):
            members = kept[places]
            if not len(members):
                raise ConfigError(f"window: must keep images of every class, got none of class {label}")
            self._members[label] = members
            self._weights[label] = weights[members]
            self._soft[label] = not bool((weights[members] == weights[members[0]]).all())

    def draw(self, label: int, batch_size: int, iteration: int) -> Float[Tensor, "b c h w"]:
        """Return normalised images of one class: `batch_size`, or the whole window if it holds fewer."""
        if batch_size not in self._blocks:
            drawn = partial(self._drawn, batch_size)
            labels = ranks.mine(self.data.num_classes)
            self._blocks[batch_size] = IndexBlocks(drawn, labels, self.data.labels.device)
        return self.data.inputs(self._blocks[batch_size].at(label, iteration))

    def _drawn(self, batch_size: int, label: int, iteration: int) -> Int64[Tensor, " b"]:
        members = self._members[label]
        size = min(batch_size, len(members))
        if self._soft[label]:
            return members[_systematic(self._weights[label], size, rng.derive(self.stream, "class", label, iteration))]
        epoch, position = divmod(iteration, len(members) // size)
        order = permutation(len(members), rng.derive(self.stream, "class", label, epoch))
        return members[order[position * size : (position + 1) * size]]

    def representatives(self, label: int, count: int, network: Classifier, stream: int) -> Int64[Tensor, " b"]:
        """Return the images of one class that stand for it to a network (DREAM, arXiv 2302.14416).

        The class is cut into `count` clusters of embeddings by k-means under the window's weights; each is represented
        by the image nearest to its centre. The answer depends on the arguments alone.

        Args:
            label: which class.
            count: clusters; a window that holds no more images is returned whole.
            network: whose features are clustered, un-augmented.
            stream: of the first centres.

        Raises:
            ConfigError: the network has diverged.
        """
        device = self.data.labels.device
        members = self._members[label].to(device)
        if len(members) <= count:
            return members
        # A second or more of imports, for those who ask for it.
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits

        features = finite(embed(network, self.data.subset(members)).cpu(), "features of real images")
        means = KMeans(count, n_init=1, random_state=stream % 2**32)
        weights = self._weights[label].numpy()
        with threadpool_limits(1):  # it adds up what its threads found in the order in which they end
            clusters = torch.from_numpy(means.fit_predict(features.numpy(), sample_weight=weights))
        distances = torch.from_numpy(means.transform(features.numpy()))
        found = [torch.nonzero(clusters == number).flatten() for number in range(count)]
        nearest = [rows[distances[rows, number].argmin()] for number, rows in enumerate(found) if len(rows)]
        return members[torch.stack(nearest).to(device)]


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
    _blocks: dict[tuple[str, int | None, int], IndexBlocks] = field(default_factory=dict, init=False, repr=False)

    @property
    def share(self) -> float:
        """Share of the new segment in the union with the frozen ones, in (0, 1]; the same for every class."""
        return len(self.pixels[0]) / self.stored

    @property
    def stored(self) -> int:
        """Stored images per class of the union, or of the new segment where no frozen ones are matched."""
        return len(self.pixels[0]) + (len(self.frozen[0]) if self.frozen else 0)

    def draw(
        self,
        label: int,
        limit: int | None,
        iteration: int,
        of: Literal["union", "new", "frozen"] = "union",
        *,
        first: int | None = None,
        held: int = 0,
    ) -> Float[Tensor, "b c h w"]:
        """Return all decoded images of one class, or `limit` of them drawn without replacement if there are more.

        Args:
            label: which class.
            limit: images at most, >= 1; None takes all.
            iteration: number of the pixel update, from 0.
            of: the frozen segments and the new one together, or either alone; there must be frozen ones for `frozen`.
            first: of the new segment the first so many stored images alone, >= 1, by a draw of their own; None for all.
            held: the first so many stored images of the new segment get no gradient.
        """
        parts = self._parts(label, of, first, held)
        stored = parts[0] if len(parts) == 1 else torch.cat(parts)
        chosen: Int64[Tensor, " b"] | None = None
        if limit is not None and decoded_count(len(stored), self.factor) > limit:
            chosen = self._chosen(of, first, limit).at(label, iteration)
        return normalise(decode(stored, self.factor, chosen), self.mean, self.std)

    def _parts(self, label: int, of: str, first: int | None, held: int = 0) -> list[Tensor]:
        new = self.pixels[label]
        if held:
            new = torch.cat([new[:held].detach(), new[held:]])
        named = {"new": new if first is None else new[:first]}
        if self.frozen:
            named = {"frozen": self.frozen[label], **named}
        return [named[of]] if of in ("new", "frozen") else [*named.values()]

    def _chosen(self, of: str, first: int | None, limit: int) -> IndexBlocks:
        name = "frozen" if of == "frozen" else "class" if first is None else "subset"

        def drawn(label: int, iteration: int) -> Int64[Tensor, " b"]:
            count = decoded_count(sum(map(len, self._parts(label, of, first))), self.factor)
            return torch.randperm(count, generator=rng.generator(self.stream, name, label, iteration))[:limit]

        key = (of, first, limit)
        if key not in self._blocks:
            self._blocks[key] = IndexBlocks(drawn, ranks.mine(len(self.pixels)), self.pixels[0].device)
        return self._blocks[key]

    def whole(self, real: LabelledImages, prefix: LabelledImages | None = None) -> LabelledImages:
        """Return the synthetic set as it stands, for networks to learn from: training images, without gradients.

        Args:
            real: the real set, for its class names and statistics.
            prefix: decoded training images of the frozen segments, which come first.
        """
        parts = [decode(images.detach(), self.factor) for images in self.pixels]
        labels = [torch.full((len(part),), label, device=part.device) for label, part in enumerate(parts)]
        if prefix is not None:
            parts, labels = [prefix.pixels(), *parts], [prefix.labels, *labels]
        return replace(real, images=torch.cat(parts), labels=torch.cat(labels), targets=None, origin=None)


def _systematic(weights: Float[Tensor, " n"], size: int, stream: int) -> Int64[Tensor, " b"]:
    # One draw, and equal steps from there through the weights, laid end to end in a random order.
    generator = rng.generator(stream)
    order = torch.randperm(len(weights), generator=generator)
    ends = weights[order].double().cumsum(0)
    places = (torch.arange(size) + torch.rand((), dtype=torch.float64, generator=generator)) / size * ends[-1]
    return order[torch.searchsorted(ends, places, right=True).clamp(max=len(weights) - 1)]
