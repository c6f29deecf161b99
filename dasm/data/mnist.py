"""MNIST: 70,000 handwritten digits, 28x28 grey pixels (LeCun, Cortes & Burges, 1998), as torchvision reads it."""

from dataclasses import dataclass
from typing import final

from dasm.data import Dataset, array_source, fetch
from dasm.errors import within
from dasm.images.sources import Source


@final
@dataclass(frozen=True, kw_only=True)
class MNIST(Dataset):
    """The published test set is the benchmark. Class i is the digit i.

    Attributes:
        root: folder of downloads; the files are `MNIST/raw/` in it, and are downloaded if they are not there.
        validation: share of every training class held out for choices, in (0, 1).
    """

    root: str = "data/downloads"
    validation: float = 0.1

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        within(self, "(0, 1)", "validation")

    def open(self, seed: int) -> Source:
        parts = {split: fetch("MNIST", self.root, train=split == "train") for split in ("train", "test")}
        stored = {split: (part.data.numpy()[:, None], part.targets.numpy()) for split, part in parts.items()}
        return array_source(self.root, stored, list("0123456789"), seed=seed, validation=self.validation)
