"""A set made elsewhere, judged as every other arm: one safetensors file (Hugging Face, 2022) of images and labels.

`images` is n x c x h x w, 8-bit or floating point in [0, 1], rounded to 8 bits; `labels` holds n integers. With
`soft_labels` (n f^2 x k, floating point) beside them, networks learn these distributions instead: row i f^2 + t is of
tile t (row-major) of image i. The images of a class are taken in the order of the file. A prefix of a set that was
distilled jointly is not what its method would give at that size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from dasm.coresets import Coreset, Guide
from dasm.errors import ConfigError, at_least
from dasm.formation import decoded_count
from dasm.images.splits import check_labels
from dasm.images.tensors import FLOATS, blocks, labels_of, opened, shape_of
from dasm.segments import stored_segment
from dasm.types import LabelledImages, Segment

# Half precision rounds each of the entries of a distribution.
_TOLERANCE = 0.01


@final
@dataclass(frozen=True, kw_only=True)
class Given(Coreset):
    """The images of a file.

    Attributes:
        path: the file.
        factor: multi-formation factor f of the stored images, >= 1; 1: each is one training image.
    """

    nested: ClassVar[bool] = False
    path: str
    factor: int = 1

    def __post_init__(self) -> None:
        """Refuse a factor out of range."""
        at_least(self, 1, "factor")

    def files(self) -> Sequence[str]:
        return [self.path]

    def check(self, real: LabelledImages, sizes: Sequence[int]) -> None:
        self._read(real, sum(sizes))

    def segments(
        self,
        real: LabelledImages,
        sizes: Sequence[int],
        *,
        factor: int,  # noqa: ARG002
        seed: int,  # noqa: ARG002
        guide: Guide,  # noqa: ARG002
    ) -> Iterator[Segment]:
        images, rows, soft = self._read(real, sum(sizes))
        taken = 0
        for k, ipc in enumerate(sizes):
            chosen = rows[:, taken : taken + ipc].flatten()
            nobody = torch.full((len(rows), decoded_count(ipc, self.factor)), -1)
            made = {"index": k, "factor": self.factor, "iterations": 0}
            segment = stored_segment(images[chosen], nobody, lower=0.0, upper=1.0, **made)
            # Tile by tile, as images are decoded.
            targets = None if soft is None else soft[chosen].transpose(0, 1).flatten(0, 1)
            yield replace(segment, soft_labels=targets)
            taken += ipc

    def _read(
        self, real: LabelledImages, count: int
    ) -> tuple[UInt8[Tensor, "n c h w"], Int64[Tensor, "k m"], Float[Tensor, "n t k"] | None]:
        """Read all images, where the first `count` of each class are among them, and their soft labels by tile."""
        file = opened(self.path)
        labels = labels_of(file, "labels", self.path)
        shape = shape_of(file, "images", len(labels), self.path)
        if shape != real.image_shape:
            raise ConfigError(
                f"{self.path}: images must have the channels, height and width of the study's, {real.image_shape},"
                f" got {shape}"
            )
        check_labels(labels, real.num_classes, self.path)
        rows = []
        for label, name in enumerate(real.class_names):
            members = np.flatnonzero(labels == label)
            if len(members) < count:
                raise ConfigError(
                    f"{self.path}: labels must have class {label} ({name}) at least {count} times, as often as all"
                    f" segments together take it, got {len(members)}"
                )
            rows.append(torch.from_numpy(members[:count]))
        soft = _soft_labels(file, decoded_count(len(labels), self.factor), real.num_classes, self.path)
        images = torch.from_numpy(np.concatenate([block() for block in blocks(self.path, ["images"])]))
        return images, torch.stack(rows), None if soft is None else soft.unflatten(0, (len(labels), -1))


def _soft_labels(file: Any, count: int, classes: int, path: str) -> Float[Tensor, "n k"] | None:  # noqa: ANN401
    if "soft_labels" not in file.keys():  # noqa: SIM118 - no mapping
        return None
    stored = file.get_slice("soft_labels")
    kind, shape = stored.get_dtype(), stored.get_shape()
    if shape != [count, classes] or kind not in FLOATS:
        raise ConfigError(
            f"{path}: soft_labels must be {count} x {classes} floating point, a row for each training image that the"
            f" images decode to, got {kind} {shape}"
        )
    found: Tensor = file.get_tensor("soft_labels").float()
    wrong = ~((found >= 0).all(1) & ((found.sum(1) - 1).abs() <= _TOLERANCE))  # NaN is neither
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ConfigError(
            f"{path}: soft_labels[{row}] must be >= 0 and add up to 1, got {found[row].min().item():g} at least and"
            f" {found[row].sum().item():g} in all (of logits, the softmax)"
        )
    return found
