"""The two kinds of image set everything else passes around.

Letters in shapes: N/n real images, m synthetic images of one class, b batch, C/c channels, H/h height, W/w width,
k classes, d features, j evaluators, f multi-formation factor.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from operator import attrgetter
from typing import Any, final

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from dasm.classes import by_class
from dasm.errors import ConfigError, require


def normalise(
    pixels: Float[Tensor, "*b c h w"], mean: Float[Tensor, " c"], std: Float[Tensor, " c"]
) -> Float[Tensor, "*b c h w"]:
    """Subtract the channel mean and divide by the channel standard deviation; pixels are in [0, 1]."""
    return (pixels - mean[:, None, None].to(pixels)) / std[:, None, None].to(pixels)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledImages:
    """Images with their class, and what a network needs to read them.

    Attributes:
        images: 8-bit, or floating point in [0, 1] (decoded synthetic images lie between the 8-bit levels).
        labels: class index of each image, in [0, k).
        class_names: name of each class, in label order.
        mean: channel mean of the *real training* pixels in [0, 1]; synthetic sets carry the same one.
        std: channel standard deviation of the same pixels.
        targets: soft labels, a distribution over the classes per image, if a network is to learn these instead.
        origin: of real training images, where each stands among all images of its data set in stored order, from 0: the
            splits that were held out leave gaps. None where nobody knows.
    """

    images: UInt8[Tensor, "n c h w"] | Float[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"]
    class_names: tuple[str, ...]
    mean: Float[Tensor, " c"]
    std: Float[Tensor, " c"]
    targets: Float[Tensor, "n k"] | None = None
    origin: Int64[Tensor, " n"] | None = None

    def __post_init__(self) -> None:
        """Refuse what no network could read, and labels that name no class.

        Labels on a GPU are not checked: that would wait for it, and they were checked on the CPU.
        """
        read = self.images.dtype == torch.uint8 or self.images.is_floating_point()
        require(read, "images must be 8-bit or floating point", self.images.dtype)
        require(self.images.ndim == 4, "images must be n x channels x height x width", [*self.images.shape])
        require(self.labels.dtype == torch.int64, "labels must be 64-bit integers", self.labels.dtype)
        for what, held in (("images", self.images), ("soft labels", self.targets), ("origins", self.origin)):
            if held is not None:
                require(len(held) == len(self.labels), f"{what} must be as many as labels, {len(self)}", len(held))
        looked_at = len(self.labels) and not self.labels.is_cuda
        if looked_at and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < self.num_classes:
            raise ConfigError(f"labels must be in [0, {self.num_classes}), got {sorted(set(self.labels.tolist()))}")
        if self.targets is not None and self.targets.shape[1] != self.num_classes:
            raise ConfigError(f"soft labels must be over {self.num_classes} classes, got {self.targets.shape[1]}")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """Number of classes, those without an image included."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        c, h, w = self.images.shape[1:]
        return (c, h, w)

    def pixels(self, indices: Int64[Tensor, " b"] | None = None) -> Float[Tensor, "b c h w"]:
        """Return the pixels in [0, 1] of the images at `indices` (all of them by default)."""
        chosen = self.images if indices is None else self.images[indices]
        return chosen.float() / 255 if chosen.dtype == torch.uint8 else chosen

    def inputs(self, indices: Int64[Tensor, " b"] | None = None) -> Float[Tensor, "b c h w"]:
        """Return what a network reads: normalised pixels of the images at `indices` (all of them by default)."""
        return normalise(self.pixels(indices), self.mean, self.std)

    def answers(self, indices: Int64[Tensor, " b"]) -> Int64[Tensor, " b"] | Float[Tensor, "b k"]:
        """Return what a network learns to say of the images at `indices`: their soft labels, or else their classes."""
        return self.labels[indices] if self.targets is None else self.targets[indices]

    def members(self, label: int) -> Int64[Tensor, " b"]:
        """Return the indices of one class, in data order."""
        return self._by_class[label]

    def subset(self, indices: Int64[Tensor, " b"]) -> "LabelledImages":
        """Return the images at `indices`, in that order."""
        held: dict[str, Any] = {"images": self.images, "labels": self.labels, **self._beside}
        return replace(self, **{name: tensor[indices] for name, tensor in held.items()})

    def to(self, device: str | torch.device) -> "LabelledImages":
        """Return the set on another device."""
        held: dict[str, Any] = {name: getattr(self, name) for name in ("images", "labels", "mean", "std")}
        return replace(self, **{name: tensor.to(device) for name, tensor in (held | self._beside).items()})

    @cached_property
    def _by_class(self) -> tuple[Int64[Tensor, "..."], ...]:
        return by_class(self.labels, self.num_classes)

    @property
    def _beside(self) -> dict[str, Tensor]:
        """What the set has of every image besides its pixels and its class."""
        beside = {"targets": self.targets, "origin": self.origin}
        return {name: tensor for name, tensor in beside.items() if tensor is not None}


def join(parts: Sequence[LabelledImages]) -> LabelledImages:
    """Return several sets of the same classes as one, in order; a single one is returned as it is.

    Raises:
        ConfigError: no set; sets of different classes or kinds of images, or soft labels for some of them alone.
    """
    if not parts:
        raise ConfigError("segments: must be at least one, got none")
    if len(parts) == 1:
        return parts[0]
    for what, held in (("class names", "class_names"), ("kinds of images", "images.dtype")):
        found = {attrgetter(held)(part) for part in parts}
        require(len(found) == 1, f"{what} must be the same in all parts", found)
    images, labels = ([getattr(part, name) for part in parts] for name in ("images", "labels"))
    targets = [part.targets for part in parts if part.targets is not None]
    rule = f"soft labels must be those of all {len(parts)} parts or of none"
    require(len(targets) in (0, len(parts)), rule, len(targets))
    whole = torch.cat(targets) if targets else None
    # Images of several sets come from no one place.
    return replace(parts[0], images=torch.cat(images), labels=torch.cat(labels), targets=whole, origin=None)


def prefixes(parts: Sequence[LabelledImages]) -> list[LabelledImages]:
    """Return the first set, the first two as one, and so on to all of them; the shorter ones are views of the whole."""
    whole, found = join(parts), []
    for size in accumulate(map(len, parts)):
        # Views: copies of every prefix would be half as many times the whole as there are parts.
        targets = None if whole.targets is None else whole.targets[:size]
        images, labels = whole.images[:size], whole.labels[:size]
        found.append(replace(whole, images=images, labels=labels, targets=targets, origin=None))
    return [*found[:-1], whole]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A real data set, split. Choices are made on `validation`; `test` is for the benchmark alone."""

    train: LabelledImages
    validation: LabelledImages
    test: LabelledImages

    def to(self, device: str | torch.device) -> "Task":
        """Return the data set on another device."""
        return Task(train=self.train.to(device), validation=self.validation.to(device), test=self.test.to(device))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Segment:
    """One frozen part of a synthetic set: what was distilled against one window.

    Attributes:
        images: stored images, 8-bit, class by class.
        labels: class index of each stored image.
        index: which segment, from 0.
        factor: multi-formation factor f; each stored image decodes to f * f training images.
        sources: real training images that each stored image started from (row-major tiles); -1 where it started from
            none that is known, as in a set made elsewhere.
        lower: lower edge of the window as a within-class rank fraction, averaged over classes.
        upper: upper edge, likewise.
        iterations: pixel updates spent on the segment.
        soft_labels: a distribution over the classes for each decoded training image, in the order of `decode_set`, or
            None: labels are hard by default (C9).
        learned_rate: the step size that a trajectory objective learned together with the images, or None. It is
            recorded, not used: every set is judged by the same protocol.
    """

    images: UInt8[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"]
    index: int
    factor: int
    sources: Int64[Tensor, "n t"]
    lower: float
    upper: float
    iterations: int
    soft_labels: Float[Tensor, "n*t k"] | None = None
    learned_rate: float | None = None

    @property
    def ipc(self) -> int:
        """Stored images per class."""
        return len(self.labels) // len(self.labels.unique())
