"""Prefixes matched as sets of their own: MDC's adaptive subset loss (He et al., ICLR 2024, arXiv 2403.06075).

The first n stored images of every class, for every n, are to be a set too. At any time one such prefix at most is
matched besides all images: the most learnable one, whose distance from the real images, in features, has changed most
since the choice before. A prefix that has had its turn counts as learnt, and the largest learnt one within that in
force gets no gradient; momentum may still move it, as in the released code. Differences from that code:

1. Distances are not rounded to two decimals before they are compared.
2. One size is chosen for all classes, because a set's sizes are those of all of them; there, classes may choose too.
3. Features are those of `dasm.networks.embed`, of the images as they are; there, those of augmented images at layers
   that are given by number.
4. Where a prefix decodes to more images than a batch has, the batch is drawn from the prefix. There, places drawn among
   all images of the class are taken for places in the prefix.
5. Where frozen segments are matched too, they come first: a prefix is all of them and the first n of the new segment.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm.networks import Classifier, embed
from dasm.objective_parts.batches import SyntheticBatches
from dasm.types import LabelledImages

_NAME = "subsets."


@final
class Subsets:
    """Which prefix of a segment is matched too, and how many images are kept from moving.

    Attributes:
        size: n of the prefix in force, stored images of every class; 0 while there is none.
    """

    def __init__(self, period: int, updates: int) -> None:
        """Choose nothing yet.

        Args:
            period: outer iterations between two choices, >= 1.
            updates: pixel updates of an outer iteration, >= 1.
        """
        self.size = 0
        self._period = period
        self._updates = updates
        self._learnt = set[int]()
        self._means: Tensor | None = None
        self._before: Tensor | None = None

    @property
    def held(self) -> int:
        """Stored images of every class, the first ones, that get no gradient; fewer than `size`, or 0."""
        return max((size for size in self._learnt if size < self.size), default=0)

    def measure(
        self,
        network: Classifier,
        real: Float[Tensor, "b c h w"],
        synthetic: SyntheticBatches,
        data: LabelledImages,
        label: int,
        iteration: int,
    ) -> None:
        """Look at the prefixes of one class, in the outer iterations after which there is a choice.

        A segment of one stored image per class has no prefix, and none is ever chosen.

        Args:
            network: through which they are seen, as it is now.
            real: normalised images, the real batch of the class.
            synthetic: batches of the segment.
            data: the real set.
            label: of the class.
            iteration: number of the pixel update, from 0.
        """
        outer = iteration // self._updates
        if (outer == 0 or (outer + 1) % self._period == 0) and len(synthetic.pixels[label]) > 1:
            self.add(prefix_distances(network, real, synthetic, data, label))

    def add(self, distances: Float[Tensor, " n"]) -> None:
        """Add the distances of all prefixes, of one class and pixel update, to the mean of the outer iteration."""
        part = distances.double() / self._updates
        self._means = part if self._means is None else self._means + part

    def choose(self) -> None:
        """Choose anew, if prefixes were looked at in the outer iteration that has ended; a GPU is waited for."""
        now, before = self._means, self._before
        if now is None:
            return
        self._means, self._before = None, now
        if before is None:
            self.size = 1
        else:
            self._learnt.add(self.size)
            # On the CPU it is the first of several that are as large.
            self.size = 1 + int((now - before).abs().cpu().argmax())

    def tensors(self) -> dict[str, Tensor]:
        """Return choices and sums by name, for a checkpoint."""
        learnt = torch.tensor(sorted(self._learnt), dtype=torch.int64)
        found = {"size": torch.tensor(self.size), "learnt": learnt, "means": self._means, "before": self._before}
        return {f"{_NAME}{name}": tensor for name, tensor in found.items() if tensor is not None}

    def restore(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """Put back what `tensors` returned."""
        saved = {name.removeprefix(_NAME): tensor for name, tensor in tensors.items() if name.startswith(_NAME)}
        self.size, self._learnt = int(saved["size"]), set(saved["learnt"].tolist())
        self._means, self._before = (saved[name].to(device) if name in saved else None for name in ("means", "before"))


def prefix_distances(
    network: Classifier,
    real: Float[Tensor, "b c h w"],
    synthetic: SyntheticBatches,
    data: LabelledImages,
    label: int,
) -> Float[Tensor, " n"]:
    """Return the squared distance between the mean features of a real batch and of every prefix of one class.

    Args:
        network: whose features they are, un-augmented, in evaluation mode, without gradients.
        real: normalised images.
        synthetic: batches of the segment, of m >= 2 stored images per class.
        data: the real set.
        label: of the class.

    Returns:
        m - 1 distances, of the first 1, 2, … m - 1 stored images, after those of the frozen segments, if any.
    """
    with torch.no_grad():
        images = torch.cat([real, synthetic.draw(label, None, 0)])
    labels = torch.full((len(images),), label, device=images.device)
    # Normalised already.
    mean, std = torch.zeros_like(data.mean), torch.ones_like(data.std)
    seen = replace(data, images=images, labels=labels, mean=mean, std=std, targets=None, origin=None)
    theirs, ours = embed(network, seen).tensor_split([len(real)])
    new, stored = len(synthetic.pixels[label]), synthetic.stored
    # Image t * stored + i is tile t of stored image i.
    features = ours.unflatten(0, (-1, stored)).mean(0)
    # A product, because a GPU's running sums do not repeat themselves.
    members = features.new_ones(stored, stored).tril()[stored - new : -1]
    means = members @ features / members.sum(1, keepdim=True)
    return (means - theirs.mean(0)).square().sum(1)
