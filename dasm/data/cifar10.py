"""CIFAR-10: 60,000 photographs of 10 classes, 32x32 RGB pixels (Krizhevsky, 2009), as torchvision reads it."""

from dataclasses import dataclass
from typing import final

import numpy as np

from dasm.data import Dataset, array_source, fetch
from dasm.errors import within
from dasm.images.sources import Source


@final
@dataclass(frozen=True, kw_only=True)
class CIFAR10(Dataset):
    """The published test set is the benchmark. The classes are in the published order.

    Attributes:
        root: folder of downloads; the files are `cifar-10-batches-py/` in it, and are downloaded if they are not there.
        validation: share of every training class held out for choices, in (0, 1).
    """

    root: str = "data/downloads"
    validation: float = 0.1

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        within(self, "(0, 1)", "validation")

    def open(self, seed: int) -> Source:
        parts = {split: fetch("CIFAR10", self.root, train=split == "train") for split in ("train", "test")}
        stored = {
            split: (part.data.transpose(0, 3, 1, 2), np.array(part.targets, dtype=np.int64))
            for split, part in parts.items()
        }
        return array_source(self.root, stored, parts["train"].classes, seed=seed, validation=self.validation)
