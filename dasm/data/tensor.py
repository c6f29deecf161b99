"""One safetensors file (Hugging Face, 2022) with `images` and `labels`: for sets that are made, not photographed.

`images` is n x c x h x w, 8-bit or floating point in [0, 1], one channel or three; `labels` holds n integers from 0.
With `test_images` and `test_labels` beside them, those are the benchmark; without, it is drawn by seed. The file's
metadata may give `class_names`, a JSON list; else classes are called by their number.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np
from jaxtyping import Int64

from dasm.data import Dataset
from dasm.errors import ConfigError, require, within
from dasm.images.sources import Source
from dasm.images.splits import complete_splits
from dasm.images.tensors import blocks, labels_of, opened, shape_of


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
        file = opened(self.path)
        prefixes = {"train": ""} | ({"test": "test_"} if {"test_images", "test_labels"} & set(file.keys()) else {})
        keys = [f"{prefix}images" for prefix in prefixes.values()]
        labels = {split: labels_of(file, f"{prefix}labels", self.path) for split, prefix in prefixes.items()}
        shapes = [shape_of(file, key, len(labels[split]), self.path) for split, key in zip(labels, keys, strict=True)]
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
            blocks=partial(blocks, self.path, keys),
        )


def _class_names(file: Any, labels: Int64[np.ndarray, " n"], path: str) -> tuple[str, ...]:  # noqa: ANN401
    listed = (file.metadata() or {}).get("class_names")
    if listed is None:
        largest = int(labels.max(initial=-1))
        rule = f"{path}: labels must count the classes from 0, of which none is without images"
        require(largest < max(1, len(labels)), rule, largest, f"{len(labels)} images")
        return tuple(str(label) for label in range(largest + 1))
    try:
        return tuple(str(name) for name in json.loads(listed))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path}: class_names must be a JSON list, got {listed!r}") from error
