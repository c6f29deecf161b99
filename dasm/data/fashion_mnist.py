"""Fashion-MNIST: 70,000 articles of clothing, 28x28 grey pixels (Xiao et al., 1708.07747), as torchvision reads it."""

from dataclasses import dataclass
from typing import final

from dasm.data import Dataset, array_source, fetch
from dasm.errors import within
from dasm.images.sources import Source


@final
@dataclass(frozen=True, kw_only=True)
class FashionMNIST(Dataset):
    """The published test set is the benchmark. Classes are in the published order.

    Attributes:
        root: folder of downloads; the files are `FashionMNIST/raw/` in it, and are downloaded if they are not there.
        validation: share of every training class held out for choices, in (0, 1).
    """

    root: str = "data/downloads"
    validation: float = 0.1

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        within(self, "(0, 1)", "validation")

    def open(self, seed: int) -> Source:
        parts = {split: fetch("FashionMNIST", self.root, train=split == "train") for split in ("train", "test")}
        stored = {split: (part.data.numpy()[:, None], part.targets.numpy()) for split, part in parts.items()}
        return array_source(self.root, stored, parts["train"].classes, seed=seed, validation=self.validation)
