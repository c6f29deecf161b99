"""A distilled set as others use it: a torch data set of training images that knows where it comes from."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from dasm.errors import ConfigError, require
from dasm.formation import decode, decoded_count
from dasm.lineage import FIELDS, parts
from dasm.segments import decoded
from dasm.types import LabelledImages, Segment, normalise

#: What the segments of a set have in common.
SHARED = ("class_names", "mean", "std")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class DistilledSet(Dataset[tuple[Tensor, int]]):
    """Segments from easy to hard, read as the training images they decode to.

    Item i is what a network learns from: (normalised image (c h w), class index), that is
    `(labelled().inputs()[i], labelled().labels[i])`, without augmentation. A stored image with multi-formation factor f
    decodes to f * f of them, one at a time, when they are asked for. Normalised means: pixels in [0, 1] minus `mean`,
    divided by `std`; real images have to be treated likewise before the network sees them.

    Attributes:
        segments: the first one first; at least one.
        provenance: of each segment, plain values: `class_names`, `mean`, `std`, `content`, `parent`, `recipe`, …
    """

    segments: tuple[Segment, ...]
    provenance: tuple[Mapping[str, Any], ...]

    def __post_init__(self) -> None:
        """Refuse segments of different real sets."""
        require(bool(self.segments), "must have at least one segment", 0)
        for name in SHARED:
            for number, recorded in enumerate(self.provenance):
                if name not in recorded:
                    raise ConfigError(f"segment {number}: must record {name}, got none")
                if recorded[name] != self.provenance[0][name]:
                    raise ConfigError(f"segment {number}: must have the {name} of the first, got {recorded[name]}")

    def __len__(self) -> int:
        """Return the number of training images."""
        return self._ends[-1]

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "c h w"], int]:
        """Decode one training image."""
        index = range(len(self))[index]
        which = bisect_right(self._ends, index)
        segment, number = self.segments[which], index - (self._ends[which - 1] if which else 0)
        # Number t * m + i is tile t of stored image i (dasm.formation).
        tile, row = divmod(number, len(segment.labels))
        stored = segment.images[row : row + 1].float() / 255
        (pixels,) = decode(stored, segment.factor, torch.tensor([tile]))
        return normalise(pixels, self.mean, self.std), int(segment.labels[row])

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
        return DistilledSet(segments=self.segments[:count], provenance=self.provenance[:count])

    def labelled(self) -> LabelledImages:
        """Return all training images as the set that `dasm.train.Trainer` learns from."""
        like = LabelledImages(
            images=self.segments[0].images[:0],
            labels=self.segments[0].labels[:0],
            class_names=self.class_names,
            mean=self.mean,
            std=self.std,
        )
        return decoded(self.segments, like)

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
