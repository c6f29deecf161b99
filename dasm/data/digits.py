"""Handwritten digits: 1,797 real 8x8 grey images, shipped by scikit-learn (Alpaydin & Kaynak, UCI, 1998)."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from dasm.data import Dataset, array_source
from dasm.errors import require, within
from dasm.images.sources import Source


@final
@dataclass(frozen=True, kw_only=True)
class Digits(Dataset):
    """Needs no download. Split at random inside each class.

    Attributes:
        test: share of all images held out for the benchmark, in (0, 1).
        validation: share of all images held out for choices, in (0, 1); test + validation < 1.
    """

    licence: ClassVar[str] = "cc-by-4.0"

    test: float = 0.25
    validation: float = 0.15

    def __post_init__(self) -> None:
        """Refuse shares that leave nothing to learn from."""
        within(self, "(0, 1)", "test", "validation")
        require(self.test + self.validation < 1, "test + validation must be < 1", self.test + self.validation)

    def open(self, seed: int) -> Source:
        # Here, because `check` builds the data set without opening it, and this import takes a second.
        from sklearn.datasets import load_digits

        bundle = load_digits()
        # 16 grey levels above black, stretched to 8 bit.
        images = np.round(bundle.images * (255 / 16)).astype(np.uint8)[:, None]
        stored = {"train": (images, bundle.target.astype(np.int64))}
        names = [str(name) for name in bundle.target_names]
        return array_source("digits", stored, names, seed=seed, validation=self.validation, test=self.test)
