"""SVHN: 99,289 digits of house numbers, 32x32 RGB pixels (Netzer et al., 2011), as torchvision reads it."""

from dataclasses import dataclass
from typing import final

from dasm.data import Dataset, array_source, fetch
from dasm.errors import within
from dasm.images.sources import Source


@final
@dataclass(frozen=True, kw_only=True)
class SVHN(Dataset):
    """The published test set is the benchmark; `extra` is not used. Class i is the digit i (0 is 10 in the files).

    Attributes:
        root: folder of downloads; the files are `train_32x32.mat` and `test_32x32.mat` in it, and are downloaded if
            they are not there.
        validation: share of every training class held out for choices, in (0, 1).
    """

    root: str = "data/downloads"
    validation: float = 0.1

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        within(self, "(0, 1)", "validation")

    def open(self, seed: int) -> Source:
        parts = {split: fetch("SVHN", self.root, split=split) for split in ("train", "test")}
        stored = {split: (part.data, part.labels) for split, part in parts.items()}
        return array_source(self.root, stored, list("0123456789"), seed=seed, validation=self.validation)
