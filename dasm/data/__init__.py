"""Data sets: one file per source. Each gives a task with train, validation and test splits."""

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch

from dasm import rng
from dasm.errors import ConfigError
from dasm.types import LabelledImages, Task


class Dataset(ABC):
    """A source of labelled images."""

    #: Of the images, as the Hugging Face hub writes licences; goes into the card of every set made from them.
    licence: ClassVar[str] = "unknown"

    @abstractmethod
    def load(self, seed: int) -> Task:
        """Read the images and split them.

        Args:
            seed: root seed of the splits.

        Raises:
            ConfigError: missing or damaged data; the message names the file and the reason.
        """


def held_out(labels: np.ndarray, share: float, stream: int) -> tuple[np.ndarray, np.ndarray]:
    """Split indices class by class at random.

    Args:
        labels: class index of each image, (n,).
        share: of every class that is held out, in (0, 1); rounded, but at least one image.
        stream: of the random order.

    Returns:
        Indices kept and indices held out, both in data order.

    Raises:
        ConfigError: a class has too few images to give one to each side.
    """
    kept, out = [], []
    for label in np.unique(labels).tolist():
        members = np.flatnonzero(labels == label)
        count = max(1, round(share * len(members)))
        if count >= len(members):
            raise ConfigError(
                f"data: must have at least 2 images in class {label} to hold some out, got {len(members)}"
            )
        order = torch.randperm(len(members), generator=rng.generator(stream, "class", label)).numpy()
        out.append(members[order[:count]])
        kept.append(members[order[count:]])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(out))


def make_task(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    class_names: tuple[str, ...],
) -> Task:
    """Join 8-bit images (n c h w) and labels (n,) of the three splits; channel statistics come from `train`.

    Raises:
        ConfigError: a class has no training image, or the splits differ in image shape.
    """
    images, labels = train
    missing = sorted(set(range(len(class_names))) - set(np.unique(labels).tolist()))
    if missing:
        raise ConfigError(f"data: must have training images of every class, got none of {class_names[missing[0]]!r}")
    shapes = {split[0].shape[1:] for split in (train, validation, test)}
    if len(shapes) > 1:
        raise ConfigError(f"data: must have one image shape in all splits, got {sorted(shapes)}")
    # In float64 from level counts: exact, and without a float copy of the images.
    mean, std = zip(*[_moments(images[:, channel]) for channel in range(images.shape[1])], strict=True)

    def join(split: tuple[np.ndarray, np.ndarray]) -> LabelledImages:
        return LabelledImages(
            images=torch.from_numpy(split[0]),
            labels=torch.from_numpy(split[1].astype(np.int64)),
            class_names=class_names,
            mean=torch.tensor(mean, dtype=torch.float32),
            std=torch.tensor(std, dtype=torch.float32),
        )

    return Task(train=join(train), validation=join(validation), test=join(test))


def _moments(channel: np.ndarray) -> tuple[float, float]:
    counts = np.bincount(channel.ravel(), minlength=256)
    levels = np.arange(256) / 255
    mean = float((counts * levels).sum() / counts.sum())
    variance = float((counts * (levels - mean) ** 2).sum() / counts.sum())
    # A constant channel would divide by zero; one grey level is the smallest spread an 8-bit image can show.
    return mean, max(variance**0.5, 1 / 255)
