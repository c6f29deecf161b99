"""Encoded real images to 8-bit pixels: where a picture becomes an array, and where a damaged one is refused.

What happens to an image, in this order:

1. Its first frame is read, if it is one of the formats of `FORMATS`.
2. It is turned upright by its EXIF orientation, as viewers show it (torchvision's loaders leave it lying). A damaged
   EXIF block says nothing about orientation, and does no harm.
3. 16-bit grey becomes 8-bit by division by 257, rounded; whatever is transparent is laid on white.
4. It becomes grey (ITU-R 601 luma) or RGB.
5. With a `size`, its shorter side is resized to that (the other in proportion, rounded down), bilinearly and with
   antialiasing, and the middle square is cut out: pixel for pixel torchvision's `Resize` and `CenterCrop` of Pillow
   images.
"""

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from dasm.errors import ConfigError, DamageError, within

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
Color = Literal["rgb", "grey"]
#: What messages call an image ("cat.png:", "train.parquet: row 3"), and its bytes (none where a table has no value).
Encoded = tuple[str, bytes | None]

_MODES = {"grey": "L", "rgb": "RGB"}
_MOST_PIXELS = 89_478_485  # Pillow's own limit: a quarter of a gigabyte as RGB
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112
# What Pillow's parsers raise on damaged bytes.
_DAMAGE = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, zlib.error, OverflowError)
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)


@final
@dataclass(frozen=True, kw_only=True)
class ImageReader:
    """How encoded images become pixels.

    Attributes:
        color: convert every image to `rgb` or `grey`.
        size: pixels per side of the square that is cut out, in [1, 1e4]; without one, images stay as they are.
    """

    color: Color = "rgb"
    size: int | None = None

    def __post_init__(self) -> None:
        """Refuse an empty square."""
        within(self, "[1, 1e4]", "size")

    def read(self, encoded: Encoded) -> UInt8[np.ndarray, "c h w"]:
        """Read one image.

        Raises:
            ConfigError: the bytes are no image that can be read whole.
        """
        where, data = encoded
        if data is None:
            raise ConfigError(f"{where} must hold the bytes of an image, got none")
        try:
            # Named, because the others include interpreters of programs (PostScript).
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _refuse_giant(image.width, image.height, "")
                pixels = np.asarray(self._fit(_plain(_upright(image), _MODES[self.color])))
        except UnidentifiedImageError as error:
            reason = f"none of {', '.join(FORMATS)}" if data else "0 bytes"
            raise ConfigError(f"{where} must be a readable image ({reason})") from error
        except _BOMB as error:
            raise ConfigError(f"{where} must have at most {_MOST_PIXELS} pixels (a decompression bomb)") from error
        except _DAMAGE as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ConfigError(f"{where} must be a readable image ({reason})") from error
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)

    def shape(self, encoded: Iterable[Encoded]) -> tuple[int, int, int]:
        """Return the channels, height and width of a data set: without a size, those of the first image that has any.

        Raises:
            DamageError: the first `DamageError.most` images cannot be read, or none can.
        """
        channels = 3 if self.color == "rgb" else 1
        if self.size is not None:
            return (channels, self.size, self.size)
        damage: list[str] = []
        for pixels in self._each(encoded, damage):
            if pixels is not None or len(damage) >= DamageError.most:
                break
        else:
            pixels = None
        if pixels is None:
            raise DamageError(damage)
        _, height, width = pixels.shape
        return (channels, height, width)

    def block(
        self, encoded: Iterable[Encoded], shape: tuple[int, int, int], count: int
    ) -> UInt8[np.ndarray, "b c h w"]:
        """Read some images.

        Args:
            encoded: the images. One that cannot even be fetched may raise `ConfigError` and be followed by others, as
                `map` goes on after what its function raises.
            shape: channels, height and width that each must have.
            count: how many there are.

        Raises:
            DamageError: images that cannot be read, or are of another shape.
        """
        images, damage = np.empty((count, *shape), dtype=np.uint8), list[str]()
        for image, pixels in zip(images, self._each(encoded, damage, shape), strict=True):
            if pixels is not None:
                image[:] = pixels
        if damage:
            raise DamageError(damage)
        return images

    def _each(
        self, encoded: Iterable[Encoded], damage: list[str], shape: tuple[int, int, int] | None = None
    ) -> Iterator[UInt8[np.ndarray, "c h w"] | None]:
        """Yield the pixels of every image, or None, and what is wrong with it goes into `damage`."""
        images = iter(encoded)
        while True:
            try:
                where, data = next(images)
                pixels = self.read((where, data))
                if shape is not None and pixels.shape != shape:
                    raise ConfigError(f"{where} {_other_size(shape, pixels.shape)}")
            except StopIteration:
                return
            except ConfigError as error:
                damage.append(str(error))
                yield None
            else:
                yield pixels

    def _fit(self, image: Image.Image) -> Image.Image:
        if self.size is None:
            return image
        width, height = image.size
        short = min(width, height)
        width, height = int(self.size * width / short), int(self.size * height / short)
        _refuse_giant(width, height, " after resizing")
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        return resized.crop((left, top, left + self.size, top + self.size))


def read_bytes(path: str) -> bytes:
    """Return what is in a file.

    Raises:
        ConfigError: no such file, or one that may not be read.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a Path per image of a million costs seconds
            return file.read()
    except OSError as error:
        raise ConfigError(f"{path}: must be a readable image ({error.strerror})") from error


def _other_size(*shapes: tuple[int, ...]) -> str:
    wanted, found = (f"{width} x {height}" for _, height, width in shapes)
    return f"must be {wanted} pixels like the first image, got {found} (with `size`, images are resized and cut to one)"


def _refuse_giant(width: int, height: int, when: str) -> None:
    if width * height > _MOST_PIXELS:
        raise ValueError(f"{width} x {height} pixels{when}, more than {_MOST_PIXELS}")


def _upright(image: Image.Image) -> Image.Image:
    image.load()  # Pillow turns TIFF by itself here, and drops the tag
    try:
        turn = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except _DAMAGE:
        turn = None
    return image if turn is None else image.transpose(turn)


def _plain(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == "F":
        raise ValueError("32-bit floating point pixels have no white")
    if image.mode == "I" or image.mode.startswith("I;16"):
        levels = np.asarray(image).astype(np.int64)
        if levels.min() < 0 or levels.max() > 65535:
            raise ValueError(f"grey levels from {levels.min()} to {levels.max()}, more than 16 bits")
        levels[levels == image.info.get("transparency", -1)] = 65535
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8)).convert(mode)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image if image.mode == mode else image.convert(mode)  # which would copy it
