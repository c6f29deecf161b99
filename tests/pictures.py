"""Small encoded images, and folders of them."""

import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def encode(pixels, form="PNG", mode=None, **options):
    """Encode an array or a Pillow image."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, format=form, **options)
    return buffer.getvalue()


def grey(level, height=4, width=4):
    return np.full((height, width), level, dtype=np.uint8)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def png_that_claims(width, height):
    """A PNG of a few bytes whose header promises so many grey pixels."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def fill(root: Path, files):
    """Write grey images, a level per path, so that every image says which it is."""
    for path, level in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(encode(grey(level)))


def levels(data):
    """The level and the label of every image of a set, in data order."""
    assert (data.images == data.images[:, :1, :1, :1]).all()
    return list(zip(data.images[:, 0, 0, 0].tolist(), data.labels.tolist(), strict=True))
