"""Which real images a segment starts from.

Under a window they are spread evenly over its ranks, or over its weight where it is soft (the initialisation follows
the targeted difficulty, as in SelMatch and CUDD); without one they follow a random order of the class, and each segment
goes on where the last one stopped, so that the segments of a sequence start from the same images as one joint set.
Images that earlier segments started from are passed over as long as others remain; after that, those they took least
often come first.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dasm import rng
from dasm.errors import ConfigError
from dasm.types import LabelledImages


def choose_sources(
    real: LabelledImages,
    weights: Float[Tensor, " n"],
    rank: Float[Tensor, " n"] | None,
    count: int,
    used: Int64[Tensor, "..."],
    stream: int,
) -> Int64[Tensor, "k t"]:
    """Choose `count` real images of every class.

    Args:
        real: the real set.
        weights: of the window; images with weight 0 are left out.
        rank: within-class rank fractions; needed when the weights differ.
        count: images per class.
        used: indices that earlier segments started from; of sets made elsewhere, which say none, -1.
        stream: of the random order.

    Raises:
        ConfigError: a class, or its window, holds fewer than `count` images.
    """
    # Chosen on the CPU, so that a GPU starts from the same images.
    weights, rank = weights.cpu(), None if rank is None else rank.cpu()
    windowed = bool((weights != weights[0]).any())
    taken = used[used >= 0].bincount(minlength=len(real))
    rows = []
    for label in range(real.num_classes):
        members = class_members(real, label, count)
        if not windowed:
            members = members[torch.randperm(len(members), generator=rng.generator(stream, "order", label))]
            rows.append(members[taken[members].argsort(stable=True)[:count]])
            continue
        assert rank is not None, "differing weights come from ranks"
        members = members[torch.argsort(rank[members], stable=True)]
        members = members[weights[members] > 0]
        if len(members) < count:
            raise ConfigError(
                f"window: must keep at least {count} training images of class {label} ({real.class_names[label]}),"
                f" got {len(members)} (widen the window or make the segment smaller)"
            )
        rows.append(members[_evenly(weights[members], taken[members], count)])
    return torch.stack(rows)


def class_members(real: LabelledImages, label: int, count: int) -> Int64[Tensor, " n"]:
    """Return the indices of one class, in data order, on the CPU.

    Raises:
        ConfigError: there are fewer than `count`.
    """
    members = real.members(label).cpu()
    if len(members) < count:
        raise ConfigError(
            f"class {label} ({real.class_names[label]}): must have at least {count} training images, got {len(members)}"
            " (fewer images per class or a smaller factor need fewer)"
        )
    return members


def _evenly(weights: Float[Tensor, " n"], times: Int64[Tensor, " n"], count: int) -> Bool[Tensor, " n"]:
    # First every image taken less often than the `count`-th least taken one; the places that are left are spread over
    # those taken exactly as often as it.
    level = times.sort().values[count - 1]
    chosen, rest = times < level, torch.nonzero(times == level).flatten()
    chosen[rest[_spread(weights[rest], count - int(chosen.sum()))]] = True
    return chosen


def _spread(weights: Float[Tensor, " n"], count: int) -> Int64[Tensor, " t"]:
    middles = torch.arange(count, dtype=torch.float64) + 0.5
    if bool((weights == weights[0]).all()):
        # The middle of each of `count` equal parts of the window.
        return (middles * len(weights) / count).long()
    # The same for parts of equal weight. No image may fill more than one part, or it would be taken twice.
    share = weights.double() / weights.sum(dtype=torch.float64) * count
    full = torch.zeros(len(share), dtype=torch.bool)
    while bool((share > 1).any()):
        full |= share >= 1
        share = torch.where(full, 1.0, share / share[~full].sum() * (count - int(full.sum())))
    # Rounded, because two middles a full part apart must not fall on one image for the last bit of a sum.
    return torch.searchsorted(share.cumsum(0).round(decimals=9), middles, right=True)
