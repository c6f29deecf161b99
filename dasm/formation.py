"""Multi-formation: one stored image holds f x f training images (IDC, arXiv 2205.14959, section 4.1).

Deviations from IDC's released code: 1. the images to decode are chosen first and only they are decoded (the same
distribution for less work); 2. `bound` and `multi` modes are not offered; 3. where f does not divide the side, the
tiles of an initial image are cut as decoding cuts them, where IDC makes the first ones a pixel larger.
"""

from dataclasses import replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from dasm.errors import require
from dasm.types import LabelledImages


def decoded_count(stored: int, factor: int) -> int:
    """Return how many training images `stored` images decode to."""
    return stored * factor**2


def decode(
    stored: Float[Tensor, "m c h w"], factor: int, chosen: Int64[Tensor, " b"] | None = None
) -> Float[Tensor, "b c h w"]:
    """Cut stored images into tiles and enlarge each tile to full size, bilinearly.

    Args:
        stored: pixels in [0, 1].
        factor: f >= 1; sides that f does not divide are first padded at the right and bottom with 0.5.
        chosen: which of the m * f * f training images to return, default all. Number t * m + i is tile t (row-major)
            of stored image i.

    Returns:
        The chosen training images, differentiable in `stored`; `stored` itself for factor 1 and no choice.
    """
    require(factor >= 1, "factor must be >= 1", factor)
    if factor == 1:
        return stored if chosen is None else stored[chosen]
    height, width = stored.shape[2:]
    padded = F.pad(stored, (0, -width % factor, 0, -height % factor), value=0.5)
    # (m c f a f b) -> (f f m c a b): tiles of all images, tile by tile.
    tiles = padded.unflatten(3, (factor, -1)).unflatten(2, (factor, -1)).permute(2, 4, 0, 1, 3, 5).flatten(0, 2)
    if chosen is not None:
        tiles = tiles[chosen]
    if tiles.is_cuda:
        # The same sums as two products with matrices of weights. There the way back through `interpolate` repeats
        # itself only in a form of a hundred launches.
        down, across = (
            _weights(tiles.shape[dim], side, tiles.dtype, tiles.device) for dim, side in ((2, height), (3, width))
        )
        return down @ tiles @ across.T
    return F.interpolate(tiles, size=(height, width), mode="bilinear", align_corners=False)


def decode_set(data: LabelledImages, factor: int) -> LabelledImages:
    """Return every training image of a stored set, as floating-point pixels in [0, 1], with the labels of its image."""
    return replace(
        data,
        images=decode(data.pixels(), factor),
        labels=data.labels.repeat(factor**2),
        targets=None if data.targets is None else data.targets.repeat(factor**2, 1),
        origin=None,
    )


def mosaic(images: Float[Tensor, "n c h w"], factor: int) -> Float[Tensor, "m c h w"]:
    """Shrink f * f images into the tiles of one stored image (IDC's `mix` initialisation).

    Args:
        images: n = m * f * f images; image t * m + i becomes tile t (row-major) of stored image i, which is where
            `decode` finds it again.
        factor: f >= 1.

    Returns:
        Stored images. Tiles are nearest-neighbour samples, so no new grey level appears.
    """
    require(factor >= 1, "factor must be >= 1", factor)
    require(len(images) % factor**2 == 0, f"images must be a multiple of {factor**2}", len(images))
    if factor == 1:
        return images.clone()
    height, width = images.shape[2:]
    rows, columns = _cells(height, factor), _cells(width, factor)
    require(min(rows + columns) >= 1, f"images must leave room for {factor} x {factor} tiles", (height, width))
    groups = images.unflatten(0, (factor, factor, -1))
    return torch.cat(
        [
            torch.cat(
                [F.interpolate(groups[i, j], size=(rows[i], columns[j]), mode="nearest") for j in range(factor)], dim=3
            )
            for i in range(factor)
        ],
        dim=2,
    )


@lru_cache(maxsize=16)
def _weights(cell: int, side: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "s t"]:
    # What a line of `cell` pixels, one of them 1 and the others 0, is enlarged to.
    lines = torch.eye(cell, dtype=dtype)[None]
    return F.interpolate(lines, size=side, mode="linear", align_corners=False)[0].T.contiguous().to(device)


def _cells(side: int, factor: int) -> list[int]:
    # The same cut as in `decode`: every cell is ceil(side / f) wide, but the last ones may be clipped by the padding.
    cell = -(-side // factor)
    return [max(0, min(cell, side - i * cell)) for i in range(factor)]
