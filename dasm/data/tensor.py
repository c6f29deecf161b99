"""One safetensors file (Hugging Face, 2022) with `images` and `labels`: for sets that are made, not photographed.

`images` is n x c x h x w, 8-bit or floating point in [0, 1], one channel or three; `labels` holds n integers from 0.
With `test_images` and `test_labels` beside them, those are the benchmark; without, it is drawn by seed. The file's
metadata may give `class_names`, a JSON list; else classes are called by their number.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dasm.data import Dataset
from dasm.errors import ConfigError, require, within
from dasm.images.sources import Block, Source, block_length
from dasm.images.splits import complete_splits

_DTYPES = ("U8", "F16", "BF16", "F32", "F64")


@final
@dataclass(frozen=True, kw_only=True)
class TensorFile(Dataset):
    """Floating point is rounded to 8 bits.

    Attributes:
        path: the file.
        test: share of all images held out for the benchmark where there are no test images, in (0, 1).
        validation: share of the training images (without test images: of all images) held out for choices, in
            (0, 1); test + validation < 1.
    """

    path: str
    test: float = 0.2
    validation: float = 0.1

    def __post_init__(self) -> None:
        """Refuse shares that leave nothing to learn from."""
        within(self, "(0, 1)", "test", "validation")
        require(self.test + self.validation < 1, "test + validation must be < 1", self.test + self.validation)

    def files(self) -> Sequence[str]:
        return [self.path]

    def open(self, seed: int) -> Source:
        file = _open(self.path)
        prefixes = {"train": ""} | ({"test": "test_"} if {"test_images", "test_labels"} & set(file.keys()) else {})
        keys = [f"{prefix}images" for prefix in prefixes.values()]
        labels = {split: _labels(file, f"{prefix}labels", self.path) for split, prefix in prefixes.items()}
        shapes = [_shape(file, key, len(labels[split]), self.path) for split, key in zip(labels, keys, strict=True)]
        if len(set(shapes)) > 1:
            raise ConfigError(f"{self.path}: test_images must have the shape of images {shapes[0]}, got {shapes[1]}")
        names = _class_names(file, labels["train"], self.path)
        return Source(
            where=self.path,
            class_names=names,
            labels=np.concatenate(list(labels.values())),
            image_shape=shapes[0],
            splits=complete_splits(
                labels, names, where=self.path, seed=seed, validation=self.validation, test=self.test
            ),
            blocks=partial(_blocks, self.path, keys),
        )


def _open(path: str) -> Any:  # noqa: ANN401 - safetensors is untyped
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path}: must be a readable safetensors file ({error})") from error


def _slice(file: Any, key: str, path: str) -> Any:  # noqa: ANN401
    try:
        return file.get_slice(key)
    except SafetensorError as error:
        raise ConfigError(f"{path}: must have a tensor {key!r}, got {', '.join(sorted(file.keys()))}") from error


def _labels(file: Any, key: str, path: str) -> Int64[np.ndarray, " n"]:  # noqa: ANN401
    stored = _slice(file, key, path)
    if len(stored.get_shape()) != 1 or stored.get_dtype()[0] not in "IU":
        raise ConfigError(f"{path}: {key} must be n integers, got {stored.get_dtype()} {stored.get_shape()}")
    return file.get_tensor(key).numpy().astype(np.int64)


def _shape(file: Any, key: str, count: int, path: str) -> tuple[int, int, int]:  # noqa: ANN401
    stored = _slice(file, key, path)
    shape = stored.get_shape()
    if len(shape) != 4 or shape[1] not in (1, 3) or stored.get_dtype() not in _DTYPES:
        raise ConfigError(
            f"{path}: {key} must be n x 1 or 3 x h x w, one of {', '.join(_DTYPES)}, got {stored.get_dtype()} {shape}"
        )
    if shape[0] != count:
        raise ConfigError(f"{path}: must have a label for each of {shape[0]} {key}, got {count}")
    return (shape[1], shape[2], shape[3])


def _class_names(file: Any, labels: Int64[np.ndarray, " n"], path: str) -> tuple[str, ...]:  # noqa: ANN401
    listed = (file.metadata() or {}).get("class_names")
    if listed is None:
        return tuple(str(label) for label in range(int(labels.max(initial=-1)) + 1))
    try:
        return tuple(str(name) for name in json.loads(listed))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: class_names must be a JSON list, got {listed!r}") from error


def _blocks(path: str, keys: Sequence[str]) -> Iterator[Block]:
    file = _open(path)
    for key in keys:
        stored = _slice(file, key, path)
        count, *shape = stored.get_shape()
        length = block_length(tuple(shape))
        for start in range(0, count, length):
            yield partial(_to_8_bit, stored[start : start + length], start, f"{path}: {key}")


def _to_8_bit(pixels: Tensor, start: int, where: str) -> UInt8[np.ndarray, "b c h w"]:
    if pixels.dtype == torch.uint8:
        return pixels.numpy()
    wrong = ~((pixels >= 0) & (pixels <= 1))  # NaN is neither
    if wrong.any():
        image, *_ = at = wrong.nonzero()[0].tolist()
        raise ConfigError(f"{where}[{start + image}] must have pixels in [0, 1], got {pixels[tuple(at)].item()}")
    return (pixels.double() * 255).round().to(torch.uint8).numpy()
