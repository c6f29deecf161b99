"""Wrong labels: any data set with symmetric label noise in training (van Rooyen et al., 2015, arXiv 1505.07634).

Of the n training images of every class, round(share * n) are labelled as another class, each of the others being as
likely. Which ones, and as what, is drawn by class; a larger share labels the same ones likewise, and more. Validation
and test labels stay right: the question is how much of the true classes is learnt in spite of the noise, and a choice
that is made on wrong labels may well be one for the noise.

`long_tailed` of a noisy set has its profile by the labels as they are now, and about the same share of them wrong in
every class. The other way round, the rare classes fill up with images of the frequent ones.

What the labels were is stored beside the data set, so that whoever asks can tell which are wrong (`dasm.images.truth`).

Deviations from the paper:
1. The number of wrong labels is fixed in every class. There a coin is thrown for every image.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import final

import torch

from dasm import rng
from dasm.data import Dataset
from dasm.errors import within
from dasm.images.sources import Source


@final
@dataclass(frozen=True, kw_only=True)
class Noisy(Dataset):
    """The wrapped set, partly mislabelled.

    Attributes:
        of: the wrapped set.
        share: of the training images of every class that get a wrong label, in [0, 1).
    """

    of: Dataset
    share: float = 0.2

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        within(self, "[0, 1)", "share")

    @property
    def licence(self) -> str:
        return self.of.licence

    def files(self) -> Iterable[str]:
        return self.of.files()

    def open(self, seed: int) -> Source:
        source = self.of.open(seed)
        train, k = source.splits["train"], len(source.class_names)
        labels, truth = source.labels.copy(), source.labels if source.truth is None else source.truth
        # Named by how many are wrong already, so that noise upon noise is another draw.
        stream = rng.derive(seed, "noisy", int((labels != truth).sum()))
        for label in range(k):
            members = train[source.labels[train] == label]
            generator = rng.generator(stream, "class", label)
            order = torch.randperm(len(members), generator=generator).numpy()
            steps = torch.randint(1, k, (len(members),), generator=generator).numpy()
            count = round(self.share * len(members))
            labels[members[order[:count]]] = (label + steps[:count]) % k
        return replace(source, labels=labels, truth=truth)
