"""One distilled segment as several, and back: a set that was distilled at once, cut into prefixes.

The images of a segment have no order, so its first ones are no better than others. What a set loses that is cut
afterwards is the subset degradation of MDC (He et al., ICLR 2024, arXiv 2403.06075), whose prefixes are matched too.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

import torch
from jaxtyping import Int64
from torch import Tensor

from dasm.errors import require
from dasm.formation import decoded_count
from dasm.types import Segment


def cut(segment: Segment, sizes: Sequence[int]) -> list[Segment]:
    """Cut a segment into several that follow each other.

    Args:
        segment: images class by class.
        sizes: stored images per class of each piece, >= 1; they add up to those of the segment.

    Returns:
        The pieces, numbered from the segment's own number on. The first has all its iterations, because there is no
        piece without them, and the others none.

    Raises:
        ConfigError: the sizes do not add up.
    """
    require(sum(sizes) == segment.ipc, f"sizes must add up to the segment's {segment.ipc} images per class", [*sizes])
    rows = torch.arange(len(segment.labels)).unflatten(0, (-1, segment.ipc))
    ends = [0, *accumulate(sizes)]
    chosen = [rows[:, first:last].flatten() for first, last in pairwise(ends)]
    return [
        replace(_taken(segment, images), index=segment.index + number, iterations=0 if number else segment.iterations)
        for number, images in enumerate(chosen)
    ]


def merged(pieces: Sequence[Segment]) -> Segment:
    """Return the segment that was cut into these pieces, at least one, in any order: the inverse of `cut`."""
    pieces = sorted(pieces, key=lambda piece: piece.index)
    first = pieces[0]
    classes = len(first.labels) // first.ipc
    # Piece by piece and then class by class, from which each class takes what it has of every piece.
    ends = [0, *accumulate(len(piece.labels) for piece in pieces)]
    rows = [torch.arange(a, b).unflatten(0, (classes, -1)) for a, b in pairwise(ends)]
    joined = replace(
        first,
        images=torch.cat([piece.images for piece in pieces]),
        labels=torch.cat([piece.labels for piece in pieces]),
        sources=torch.cat([piece.sources for piece in pieces]),
        soft_labels=_soft(pieces),
        iterations=sum(piece.iterations for piece in pieces),
    )
    return _taken(joined, torch.cat(rows, dim=1).flatten())


def _taken(segment: Segment, images: Int64[Tensor, " m"]) -> Segment:
    soft, tiles = segment.soft_labels, decoded_count(1, segment.factor)
    return replace(
        segment,
        images=segment.images[images],
        labels=segment.labels[images],
        sources=segment.sources[images],
        # Tile by tile of all images, as they are decoded.
        soft_labels=None if soft is None else soft.unflatten(0, (tiles, -1))[:, images].flatten(0, 1),
    )


def _soft(pieces: Sequence[Segment]) -> Tensor | None:
    tiles = decoded_count(1, pieces[0].factor)
    held = [piece.soft_labels.unflatten(0, (tiles, -1)) for piece in pieces if piece.soft_labels is not None]
    return torch.cat(held, dim=1).flatten(0, 1) if held else None
