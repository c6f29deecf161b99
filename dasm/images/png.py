"""One stored image as PNG, there and back without loss."""

import io
import zlib

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from dasm.errors import ConfigError

_UNREADABLE = (OSError, SyntaxError, ValueError, zlib.error, Image.DecompressionBombError)


def to_png(image: UInt8[Tensor, "c h w"]) -> bytes:
    """Return an 8-bit grey or RGB image as PNG."""
    pixels = image.permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def from_png(data: bytes) -> UInt8[Tensor, "c h w"]:
    """Return the 8-bit grey or RGB pixels of a PNG; every other mode becomes RGB.

    Raises:
        ConfigError: no PNG, or a damaged one. (A set may come from anybody, and other formats hold programs.)
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as opened:
            image = opened if opened.mode in ("L", "RGB") else opened.convert("RGB")
            pixels = np.array(image)
    except _UNREADABLE as error:
        # Pillow names an object in memory, which is nobody's file.
        reason = "no PNG" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
        raise ConfigError(f"must be a readable PNG ({reason})") from error
    return torch.from_numpy(pixels[:, :, None] if pixels.ndim == 2 else pixels).permute(2, 0, 1).contiguous()
