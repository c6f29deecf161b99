"""Images side by side as the address of one inline picture, small enough for a page that holds hundreds."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

# Images of up to so many bytes (16 x 16 in colour, 32 x 32 in grey) stay PNG, every pixel as stored: they are shown
# enlarged, and JPEG would hardly be smaller.
_EXACT = 1024
# Shown in at most half as many CSS pixels.
_LARGEST = 96


@final
@dataclass(frozen=True, kw_only=True)
class Strip:
    """A row of images.

    Attributes:
        uri: address of the picture; empty without images.
        count: images in it.
        side: pixels of an image from left to right; one more parts it from the next.
        width: pixels of the picture.
        height: likewise.
        opaque: the parting pixels have a colour, and the page must hide them.
    """

    uri: str
    count: int
    side: int
    width: int
    height: int
    opaque: bool


def strip(images: Sequence[Pixels]) -> Strip:
    """Put images (h w c) side by side, a pixel between them."""
    if not images:
        return Strip(uri="", count=0, side=0, width=0, height=0, opaque=False)
    pictures = [_picture(shrunk(image)) for image in images]
    width, height = pictures[0].size
    opaque = len(pictures[0].tobytes()) > _EXACT
    mode = pictures[0].mode if opaque else {"L": "LA", "RGB": "RGBA"}[pictures[0].mode]
    canvas = Image.new(mode, (len(images) * (width + 1) - 1, height))
    for i, picture in enumerate(pictures):
        if opaque and i:
            # The last column once more: a parting of another colour would ring into the images.
            before = pictures[i - 1]
            canvas.paste(before.crop((width - 1, 0, width, height)), (i * (width + 1) - 1, 0))
        canvas.paste(picture, (i * (width + 1), 0))
    buffer = io.BytesIO()
    kind = "jpeg" if opaque else "png"
    # Colour at full resolution, because what tells a distilled image from a photograph is the colour of its noise: WebP
    # halves it, and greys the noise visibly at the same number of bytes. PNG knows neither option.
    canvas.save(buffer, format=kind, optimize=True, quality=90, subsampling=0)
    uri = f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Strip(uri=uri, count=len(images), side=width, width=canvas.width, height=height, opaque=opaque)


def evenly(n: int, most: int) -> NDArray[np.int64]:
    """Return at most so many of n positions, evenly, the first and the last among them."""
    return np.linspace(0, n - 1, min(n, most)).round().astype(np.int64) if n else np.zeros(0, np.int64)


def shrunk(image: Pixels) -> Pixels:
    """Return an image (h w c) in the size that pages show; one that is small enough already as it is."""
    picture = _picture(image)
    picture.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)  # keeps the shape of the picture
    pixels = np.asarray(picture)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _picture(image: Pixels) -> Image.Image:
    return Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
