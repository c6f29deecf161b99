"""Labelled images as tensors of a safetensors file: opened, checked and read with bounded memory, errors by name."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dasm.errors import ConfigError
from dasm.images.sources import Block, block_length

#: What safetensors calls the kinds of floating point that are read.
FLOATS = ("F16", "BF16", "F32", "F64")

_DTYPES = ("U8", *FLOATS)


def opened(path: str) -> Any:  # noqa: ANN401 - safetensors is untyped
    """Open a safetensors file.

    Raises:
        ConfigError: it is missing, or no such file.
    """
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path}: must be a readable safetensors file ({error})") from error


def labels_of(file: Any, key: str, path: str) -> Int64[np.ndarray, " n"]:  # noqa: ANN401
    """Read the class index of every image.

    Raises:
        ConfigError: there is no such tensor, or it is not n integers.
    """
    stored = _slice(file, key, path)
    if len(stored.get_shape()) != 1 or stored.get_dtype()[0] not in "IU":
        raise ConfigError(f"{path}: {key} must be n integers, got {stored.get_dtype()} {stored.get_shape()}")
    return file.get_tensor(key).numpy().astype(np.int64)


def shape_of(file: Any, key: str, count: int, path: str) -> tuple[int, int, int]:  # noqa: ANN401
    """Return channels (1 or 3), height and width of the images, of which nothing is read.

    Args:
        file: opened.
        key: name of the tensor.
        count: labels that there are.
        path: of the file, for messages.

    Raises:
        ConfigError: there is no such tensor, it holds no images, or other than `count` of them.
    """
    stored = _slice(file, key, path)
    shape = stored.get_shape()
    if len(shape) != 4 or shape[1] not in (1, 3) or stored.get_dtype() not in _DTYPES:
        raise ConfigError(
            f"{path}: {key} must be n x 1 or 3 x h x w, one of {', '.join(_DTYPES)}, got {stored.get_dtype()} {shape}"
        )
    if shape[0] != count:
        raise ConfigError(f"{path}: must have a label for each of {shape[0]} {key}, got {count}")
    return (shape[1], shape[2], shape[3])


def blocks(path: str, keys: Sequence[str]) -> Iterator[Block]:
    """Yield what reads the images of these tensors, a few at a time, as 8 bits (b c h w).

    Floating point is rounded. A block raises `ConfigError` where a pixel is not in [0, 1].
    """
    file = opened(path)
    for key in keys:
        stored = _slice(file, key, path)
        count, *shape = stored.get_shape()
        length = block_length(tuple(shape))
        for start in range(0, count, length):
            yield partial(_to_8_bit, stored[start : start + length], start, f"{path}: {key}")


def _slice(file: Any, key: str, path: str) -> Any:  # noqa: ANN401
    try:
        return file.get_slice(key)
    except SafetensorError as error:
        raise ConfigError(f"{path}: must have a tensor {key!r}, got {', '.join(sorted(file.keys()))}") from error


def _to_8_bit(pixels: Tensor, start: int, where: str) -> UInt8[np.ndarray, "b c h w"]:
    if pixels.dtype == torch.uint8:
        return pixels.numpy()
    wrong = ~((pixels >= 0) & (pixels <= 1))  # NaN is neither
    if wrong.any():
        image, *_ = at = wrong.nonzero()[0].tolist()
        raise ConfigError(f"{where}[{start + image}] must have pixels in [0, 1], got {pixels[tuple(at)].item()}")
    return (pixels.double() * 255).round().to(torch.uint8).numpy()
