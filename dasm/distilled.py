"""A distilled set as others use it: a torch data set of training images that knows where it comes from."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from dasm.errors import ConfigError, require
from dasm.formation import decode, decoded_count
from dasm.segments import decoded
from dasm.storage.lineage import FIELDS, content, parts
from dasm.types import LabelledImages, Segment, normalise

#: What a network is to say of an image: its class, or the distribution that is stored with it.
LABELS = ("auto", "hard", "soft")

#: What the segments of a set have in common.
SHARED = ("class_names", "mean", "std")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class DistilledSet(Dataset[tuple[Tensor, int | Tensor]]):
    """Segments from easy to hard, read as the training images they decode to.

    Item i is what a network learns from: (normalised image (c h w), what to say of it), without augmentation, in the
    order of `labelled()`. The latter is a class index, an int, or where `soft` holds a distribution over the classes, a
    float tensor (k); cross-entropy takes either. A stored image with multi-formation factor f decodes to f * f images,
    one at a time, when they are asked for. Normalised means: pixels in [0, 1] minus `mean`, divided by `std`; real
    images have to be treated likewise before the network sees them.

    Attributes:
        segments: the first one first; at least one.
        provenance: of each segment, plain values: `class_names`, `mean`, `std`, `content`, `parent`, `recipe`, …
        labels: `auto` gives soft labels if any segment stores them, as the benchmark trains (the classes of other
            segments become distributions without doubt); `hard` gives class indices whatever is stored; `soft` is
            `auto`, but refuses a set that stores none.
    """

    segments: tuple[Segment, ...]
    provenance: tuple[Mapping[str, Any], ...]
    labels: str = "auto"

    def __post_init__(self) -> None:
        """Refuse segments of different real sets, and soft labels where there are none."""
        require(bool(self.segments), "must have at least one segment", 0)
        for name in SHARED:
            for number, recorded in enumerate(self.provenance):
                if name not in recorded:
                    raise ConfigError(f"segment {number}: must record {name}, got none")
                if recorded[name] != self.provenance[0][name]:
                    raise ConfigError(f"segment {number}: must have the {name} of the first, got {recorded[name]}")
        require(self.labels in LABELS, f"labels must be one of {', '.join(LABELS)}", self.labels)
        if self.labels == "soft" and not self.soft:
            raise ConfigError("labels must be auto or hard, because no segment stores soft ones, got 'soft'")

    @staticmethod
    def of(segments: Sequence[Segment], real: LabelledImages, **recorded: object) -> "DistilledSet":
        """Return segments as they come from `Sequential.distil` as a set, each recording the one before it by hash.

        Args:
            segments: the first one first; at least one.
            real: the real images that they were distilled from, for class names and channel statistics.
            recorded: plain values to keep with every segment, such as `arm` or `recipe`.
        """
        shared = {"class_names": list(real.class_names), "mean": real.mean.tolist(), "std": real.std.tolist()}
        provenance = list[dict[str, Any]]()
        for segment in segments:
            meta = {**shared, **recorded, "parent": provenance[-1]["content"] if provenance else None}
            provenance.append({**meta, "content": content(segment, meta)})
        return DistilledSet(segments=tuple(segments), provenance=tuple(provenance))

    def __len__(self) -> int:
        """Return the number of training images."""
        return self._ends[-1]

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "c h w"], int | Float[Tensor, " k"]]:
        """Decode one training image."""
        index = range(len(self))[index]
        which = bisect_right(self._ends, index)
        segment, number = self.segments[which], index - (self._ends[which - 1] if which else 0)
        # Number t * m + i is tile t of stored image i (dasm.formation).
        tile, row = divmod(number, len(segment.labels))
        stored = segment.images[row : row + 1].float() / 255
        (pixels,) = decode(stored, segment.factor, torch.tensor([tile]))
        image, label = normalise(pixels, self.mean, self.std), segment.labels[row]
        if not self.soft:
            return image, int(label)
        if segment.soft_labels is None:
            return image, F.one_hot(label, len(self.class_names)).float()
        return image, segment.soft_labels[number]

    @property
    def soft(self) -> bool:
        """Whether items and `labelled()` come with soft labels."""
        return self.labels != "hard" and any(segment.soft_labels is not None for segment in self.segments)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Name of each class, in label order."""
        return tuple(self.provenance[0]["class_names"])

    @cached_property
    def mean(self) -> Float[Tensor, " c"]:
        """Channel mean of the real training pixels in [0, 1]."""
        return torch.tensor(self.provenance[0]["mean"])

    @cached_property
    def std(self) -> Float[Tensor, " c"]:
        """Channel standard deviation of the same pixels."""
        return torch.tensor(self.provenance[0]["std"])

    @property
    def content(self) -> str:
        """Hash of the whole set: that of its last segment, which covers those before it."""
        return str(self.provenance[-1]["content"])

    @property
    def sizes(self) -> tuple[int, ...]:
        """Stored images per class of every prefix that is a set of its own: whole segments."""
        return tuple(accumulate(segment.ipc for segment in self.segments))

    def prefix(self, ipc: int) -> "DistilledSet":
        """Return the first segments that have `ipc` stored images per class together.

        Raises:
            ConfigError: no prefix of whole segments has that size. The images of one segment are optimised together
                and have no order, so part of a segment is no set.
        """
        sizes = ", ".join(map(str, self.sizes))
        require(ipc in self.sizes, f"prefix_ipc must be one of {sizes} (whole segments)", ipc)
        count = self.sizes.index(ipc) + 1
        return replace(self, segments=self.segments[:count], provenance=self.provenance[:count])

    def labelled(self) -> LabelledImages:
        """Return all training images as the set that `dasm.train.Trainer` learns from; `targets` where `soft` holds."""
        like = LabelledImages(
            images=self.segments[0].images[:0],
            labels=self.segments[0].labels[:0],
            class_names=self.class_names,
            mean=self.mean,
            std=self.std,
        )
        whole = decoded(self.segments, like)
        return whole if self.soft else replace(whole, targets=None)

    def description(self) -> dict[str, Any]:
        """Return everything but the tensors as plain values, for `described` to read."""
        entries = [
            {**parts(segment)[1], **{key: value for key, value in recorded.items() if key not in SHARED}}
            for segment, recorded in zip(self.segments, self.provenance, strict=True)
        ]
        return {**{name: self.provenance[0][name] for name in SHARED}, "segments": entries}

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(decoded_count(len(segment.labels), segment.factor) for segment in self.segments))


def described(description: Mapping[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Read what `DistilledSet.description` returned: the plain values and the provenance of each segment."""
    shared = {name: description[name] for name in SHARED}
    return [
        (
            {key: value for key, value in entry.items() if key in FIELDS},
            {**shared, **{key: value for key, value in entry.items() if key not in FIELDS}},
        )
        for entry in description["segments"]
    ]
