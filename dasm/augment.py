"""Differentiable Siamese augmentation (DSA, arXiv 2102.08259), in the order that IDC (arXiv 2205.14959) applies it.

A drawn `Transform` is a value: the same one is applied to real and synthetic images. Inputs are *normalised* images, so
that what shifts in from outside, or is cut out, is the mean colour. Strengths are those of DSA. The order is flip,
brightness, saturation, contrast, then one of crop, scale and rotate chosen at random per draw, then cutout. DSA itself
applies a single operation at a time: that is `one` among the operations. Difference from IDC's code: where every image
of a batch has a draw of its own, in training, so has the choice among crop, scale and rotate; there it is one choice
for the batch.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dasm.errors import require

Operation = Literal["flip", "color", "crop", "scale", "rotate", "cutout", "one"]

_GEOMETRIC: tuple[Operation, ...] = ("crop", "scale", "rotate")
_SCALE = 1.2
_ROTATE_DEGREES = 15.0
_CROP = 0.125
_CUTOUT = 0.5


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Transform:
    """One draw of parameters per image (n of them); `at` and `repeat` make Siamese copies.

    Attributes:
        operations: what is applied, never `one`; the parameters of the others are drawn all the same and ignored.
        flip: mirror left to right.
        color: uniform in [0, 1): brightness, saturation, contrast.
        choice: which of the geometric operations in use; an index into those of `operations`, in their fixed order.
        shift: pixels down and right.
        scale: factor of the sampling grid's height and width, in [1/1.2, 1.2]; above 1 the image shrinks.
        angle: radians.
        hole: row and column of the middle of the cut-out square.
    """

    operations: tuple[Operation, ...]
    flip: Bool[Tensor, " n"]
    color: Float[Tensor, "n 3"]
    choice: Int64[Tensor, " n"]
    shift: Int64[Tensor, "n 2"]
    scale: Float[Tensor, "n 2"]
    angle: Float[Tensor, " n"]
    hole: Int64[Tensor, "n 2"]

    def at(self, indices: slice | Int64[Tensor, " m"]) -> "Transform":
        """Return the draws at `indices`."""
        return self._each(lambda value: value[indices])

    def repeat(self, times: int) -> "Transform":
        """Return every draw `times` times, the copies in a row."""
        return self._each(lambda value: value[:, None].expand(-1, times, *value.shape[1:]).flatten(0, 1))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Transform":
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "operations"}
        return replace(self, **{name: change(value) for name, value in tensors.items()})  # type: ignore[arg-type]

    def __call__(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Return the transformed images; differentiable."""
        if "flip" in self.operations:
            images = torch.where(self.flip[:, None, None, None], images.flip(3), images)
        if "color" in self.operations:
            images = self._recolor(images)
        geometric = [name for name in _GEOMETRIC if name in self.operations]
        if geometric:
            images = self._move(images, geometric)
        return self._cutout(images) if "cutout" in self.operations else images

    def _recolor(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        brightness, saturation, contrast = (value[:, None, None, None] for value in self.color.to(images).unbind(1))
        images = images + (brightness - 0.5)
        grey = images.mean(dim=1, keepdim=True)
        images = (images - grey) * (2 * saturation) + grey
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        return (images - mean) * (contrast + 0.5) + mean

    def _move(self, images: Float[Tensor, "n c h w"], names: Sequence[Operation]) -> Float[Tensor, "n c h w"]:
        # Where a single operation is in use, `choice` may be a draw among those that were (`one`).
        every = torch.ones_like(self.flip)
        chosen = {name: self.choice == index if len(names) > 1 else every for index, name in enumerate(names)}
        if list(chosen) == ["crop"]:
            return self._crop(images)
        # An image is sampled once, whether it is scaled or rotated.
        moved = self._affine(images, chosen.get("rotate", ~every))
        return (
            torch.where(chosen["crop"][:, None, None, None], self._crop(images), moved) if "crop" in chosen else moved
        )

    def _crop(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        # Products with 0/1 matrices move pixels exactly, let zeros in, and differentiate without a scatter.
        down, right = self.shift.unbind(1)
        rows = _shift_matrix(images.shape[2], down).to(images)
        columns = _shift_matrix(images.shape[3], right).to(images)
        return rows[:, None] @ images @ columns[:, None].transpose(2, 3)

    def _affine(self, images: Float[Tensor, "n c h w"], rotated: Bool[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
        cos, sin, scale = (value.to(images) for value in (self.angle.cos(), self.angle.sin(), self.scale))
        none, (height, width) = torch.zeros_like(sin), images.shape[2:]
        # Coordinates run from -1 to 1 along either side: of oblong images, steps down and across are of two lengths.
        right, below = -sin * (height / width), sin * (width / height)
        across = torch.stack([torch.where(rotated, cos, scale[:, 1]), torch.where(rotated, right, none), none], dim=1)
        down = torch.stack([torch.where(rotated, below, none), torch.where(rotated, cos, scale[:, 0]), none], dim=1)
        theta = torch.stack([across, down], dim=1)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        if images.is_cuda and images.requires_grad:
            return _sample(images, grid)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def _cutout(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        inside = []
        for side, middle in zip(images.shape[2:], self.hole.unbind(1), strict=True):
            size = int(side * _CUTOUT + 0.5)
            offset = torch.arange(side, device=images.device) - (middle[:, None] - size // 2)
            inside.append((offset >= 0) & (offset < size))
        hole = inside[0][:, :, None] & inside[1][:, None, :]
        return images * ~hole[:, None]


def draw(
    operations: tuple[Operation, ...], n: int, image_shape: tuple[int, int, int], generator: torch.Generator
) -> Transform:
    """Draw the parameters of n images.

    Args:
        operations: what to apply; any subset. With `one` among them, a single one of the others, picked anew at every
            draw and the same for all n, as in DSA.
        n: images, or groups of images that share a draw.
        image_shape: channels, height, width.
        generator: its device is that of the parameters.

    Returns:
        The transform; every parameter is drawn whatever `operations` says, so that leaving one operation out does not
        change the others.
    """
    device = generator.device
    sides = image_shape[1:]

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    def integers(low: list[int], high: list[int]) -> Tensor:
        columns = [
            torch.randint(a, b + 1, (n,), generator=generator, device=device) for a, b in zip(low, high, strict=True)
        ]
        return torch.stack(columns, dim=1)

    reach = [int(side * _CROP + 0.5) for side in sides]
    last = [side - int(side * _CUTOUT + 0.5) % 2 for side in sides]
    remaining = max(1, sum(name in operations for name in _GEOMETRIC))
    transform = Transform(
        operations=operations,
        flip=uniform(n) < 0.5,
        color=uniform(n, 3),
        choice=torch.randint(0, remaining, (n,), generator=generator, device=device),
        shift=integers([-r for r in reach], reach),
        scale=uniform(n, 2) * (_SCALE - 1 / _SCALE) + 1 / _SCALE,
        angle=(uniform(n) * 2 - 1) * math.radians(_ROTATE_DEGREES),
        hole=integers([0, 0], last),
    )
    return _one(transform, generator) if "one" in operations else transform


def others_than_one(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """Return the operations that `one` picks from, without itself.

    Raises:
        ConfigError: it stands alone.
    """
    others = tuple(name for name in operations if name != "one")
    require(bool(others), "augmentation: one must have others to pick from", [*operations])
    return others


def _one(transform: Transform, generator: torch.Generator) -> Transform:
    # Picked after the parameters, which are then those of a draw without `one`. A number that decides what is done next
    # cannot wait for a GPU: there it comes from a CPU generator with the same seed.
    others = others_than_one(transform.operations)
    if generator.device.type != "cpu":
        generator = torch.Generator().manual_seed(generator.initial_seed())
    picked = int(torch.randint(0, len(others), (), generator=generator))
    return replace(transform, operations=(others[picked],))


def _sample(images: Float[Tensor, "n c h w"], grid: Float[Tensor, "n h w 2"]) -> Float[Tensor, "n c h w"]:
    # What `grid_sample` does, by indices, because on a GPU the gradient of `grid_sample` does not repeat itself.
    height, width = images.shape[2:]
    across, down = (((grid[..., axis] + 1) * side - 1) / 2 for axis, side in enumerate((width, height)))
    each = torch.arange(len(images), device=images.device)[:, None, None]
    found = torch.zeros_like(images.movedim(1, 3))
    for right, below in ((0, 0), (0, 1), (1, 0), (1, 1)):
        column, row = across.floor() + right, down.floor() + below
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        share = (1 - (across - column).abs()) * (1 - (down - row).abs()) * inside
        chosen = images[each, :, row.clamp(0, height - 1).long(), column.clamp(0, width - 1).long()]
        found = found + chosen * share[..., None]
    return found.movedim(3, 1)


def _shift_matrix(side: int, shift: Int64[Tensor, " n"]) -> Bool[Tensor, "n s s"]:
    index = torch.arange(side, device=shift.device)
    return index[None, :, None] - shift[:, None, None] == index[None, None, :]
