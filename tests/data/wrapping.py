"""Data sets to wrap, whose images say which they are."""

from dataclasses import dataclass, field

import numpy as np

from dasm.data import Dataset, array_source
from dasm.images.sources import Source


@dataclass(frozen=True, kw_only=True)
class Given(Dataset):
    """So many training images of every class, one after another; image i has 3 pixels that spell i.

    Two validation and two test images of every class come with it, unless it is to draw them.
    """

    sizes: tuple[int, ...]
    drawn: bool = False
    licence: str = "cc0-1.0"
    read: list[str] = field(default_factory=list)

    def open(self, seed: int) -> Source:
        k = len(self.sizes)
        labels = {"train": np.repeat(np.arange(k), self.sizes)}
        if not self.drawn:
            labels |= {"validation": np.arange(2 * k) % k, "test": np.arange(2 * k) % k}
        ends = np.cumsum([len(part) for part in labels.values()])
        stored = {
            name: (spelt(np.arange(end - len(labels[name]), end)), labels[name])
            for name, end in zip(labels, ends, strict=True)
        }
        names = tuple(f"c{label}" for label in range(k))
        source = array_source("given", stored, names, seed=seed, validation=0.2, test=0.2)
        return Source(**{**vars(source), "blocks": lambda: self.read.append("pass") or source.blocks()})


def spelt(numbers):
    digits = np.stack([numbers >> 16, numbers >> 8 & 255, numbers & 255], axis=1)
    return digits.astype(np.uint8)[:, None, None, :]


def numbers(images):
    """Which images these are."""
    return (np.asarray(images).reshape(len(images), 3).astype(int) @ [1 << 16, 1 << 8, 1]).tolist()


def sizes(source):
    """Training images of every class by their labels."""
    return np.bincount(source.labels[source.splits["train"]], minlength=len(source.class_names)).tolist()


def wrong(source):
    """Indices of the images whose label is not what it was."""
    return np.flatnonzero(source.labels != source.truth).tolist()
