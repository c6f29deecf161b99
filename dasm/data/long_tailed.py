"""A long tail: any data set with fewer training images from class to class (Cui et al., CVPR 2019, arXiv 1901.05555).

Class c of k keeps n * factor ** (-c / (k - 1)) training images, rounded down, or all that it has; n is the number that
the largest class has. This is the exponential profile of CIFAR-10-LT. Which images are left out is drawn by class; a
larger factor leaves out the same ones and more. Validation and test images stay as they are: every class counts alike
there, so that whoever gives up the rare ones does not look good, neither where choices are made nor in the benchmark.

Deviations from the paper:
1. Validation images are held out first, as the wrapped set does it: of CIFAR-10 the largest class then has 4,500
   training images, not 5,000.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch

from dasm import rng
from dasm.data import Dataset
from dasm.errors import ConfigError, at_least
from dasm.images.sources import Source

# What is a whole number by hand may come out a last bit short of it.
_SLACK = 1e-9


@final
@dataclass(frozen=True, kw_only=True)
class LongTailed(Dataset):
    """The wrapped set, unbalanced: the later a class, the fewer its training images.

    Attributes:
        of: the wrapped set.
        factor: training images of the first class over those of the last, >= 1, where all classes were of one size.
    """

    of: Dataset
    factor: float = 10.0

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        at_least(self, 1, "factor")

    @property
    def licence(self) -> str:
        return self.of.licence

    def files(self) -> Iterable[str]:
        return self.of.files()

    def open(self, seed: int) -> Source:
        source = self.of.open(seed)
        train, last = source.splits["train"], len(source.class_names) - 1
        classes = [train[source.labels[train] == label] for label in range(last + 1)]
        largest = max(map(len, classes))
        if largest < self.factor:
            raise ConfigError(
                f"{source.where}: must have {self.factor:g} training images in the largest class, or none of the last"
                f" are kept, got {largest} (a smaller factor needs fewer)"
            )
        kept = []
        for label, members in enumerate(classes):
            count = int(largest * self.factor ** (-label / last) + _SLACK)
            order = torch.randperm(len(members), generator=rng.generator(seed, "long_tailed", label)).numpy()
            kept.append(members[order[:count]])
        return replace(source, splits={**source.splits, "train": np.sort(np.concatenate(kept))})
