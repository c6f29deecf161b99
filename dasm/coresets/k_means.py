"""The images nearest to the centres of as many clusters as images are wanted (k-means of DC-BENCH, arXiv 2207.09639).

The largest cluster comes first. A prefix of t images is then the middles of the t largest clusters, a coreset, but not
the k-means of t clusters: centres differ for every count.

Deviations from DC-BENCH:
1. Lloyd's algorithm of scikit-learn from a k-means++ start that the study seeds.
2. Features are those of state 0, of a network trained on real images as briefly as the study says, not to the end.
"""

import warnings
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from dasm import rng
from dasm.coresets import Guide, Picked, members_by_class
from dasm.errors import at_least
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class KMeans(Picked):
    """k-means over the features of each class.

    Attributes:
        restarts: starts of which the one with the least squared distances is kept, >= 1; each takes as long as the
            first, which at hundreds of images per class is the longest of all coresets here.
    """

    nested: ClassVar[bool] = False
    restarts: int = 1

    def __post_init__(self) -> None:
        """Refuse not to start."""
        at_least(self, 1, "restarts")

    def __call__(self, real: LabelledImages, count: int, seed: int, guide: Guide) -> Int64[Tensor, "k t"]:
        features, rows = guide.features, []
        for label, members in enumerate(members_by_class(real, count)):
            stream = rng.derive(seed, "k_means", label)
            rows.append(members[_middles(features[members], count, self.restarts, stream)])
        return torch.stack(rows)


def _middles(features: Float64[Tensor, "n d"], count: int, restarts: int, stream: int) -> Int64[Tensor, " t"]:
    # Deferred: scikit-learn takes a second to import.
    from sklearn.cluster import KMeans as Clustering
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    clustering = Clustering(count, n_init=restarts, random_state=stream % 2**32)
    # Alone: it adds up what its threads found in the order in which they end.
    with warnings.catch_warnings(), threadpool_limits(1):
        # Fewer different images than clusters leave clusters empty, which is seen to below.
        warnings.simplefilter("ignore", ConvergenceWarning)
        clusters = torch.from_numpy(clustering.fit_predict(features.numpy())).long()
    distances = (features - torch.from_numpy(clustering.cluster_centers_)[clusters]).norm(dim=1)
    sizes = clusters.bincount(minlength=count)
    # The middle of each cluster by size, then every second image of each, which only empty clusters call for.
    by_distance = torch.argsort(distances, stable=True)
    turn = torch.zeros(len(features), dtype=torch.long)
    for cluster in range(count):
        turn[by_distance[clusters[by_distance] == cluster]] = torch.arange(int(sizes[cluster]))
    by_size = by_distance[torch.argsort(sizes[clusters[by_distance]], descending=True, stable=True)]
    return by_size[torch.argsort(turn[by_size], stable=True)][:count]
