"""What a set takes to store: its images, and beside them its soft labels, which can be larger (C9)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from dasm.images.png import to_png
from dasm.types import Segment


@final
@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Bytes of a set.

    Attributes:
        png: of the images as they are stored.
        raw: of the same images at a byte per pixel and channel.
        soft_labels: of the soft labels at four bytes per class, for every decoded training image; 0 if labels are hard.
    """

    png: int
    raw: int
    soft_labels: int


def footprint(segments: Sequence[Segment]) -> Footprint:
    """Return the bytes of all segments together."""
    soft = [segment.soft_labels for segment in segments if segment.soft_labels is not None]
    return Footprint(
        png=sum(len(to_png(image)) for segment in segments for image in segment.images),
        raw=sum(segment.images.nbytes for segment in segments),
        soft_labels=sum(labels.nbytes for labels in soft),
    )
