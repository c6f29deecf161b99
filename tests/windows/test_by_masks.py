"""Every window that goes class by class, bit for bit against a mask for each class, written as its formula says."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dasm import rng
from dasm.plugins import build
from dasm.windows import Window, edges, inside, whole
from tests.handmade import difficulty_of, progress


def uneven(seed, ranks):
    """Difficulties of now and of state 0 with equal scores among them; classes of 1 to 200 images, class 2 of none."""
    generator = torch.Generator().manual_seed(seed)

    def integers(high, size):
        return torch.randint(high, size, generator=generator)

    sizes = integers(40, (9,)) + 1
    sizes[2], sizes[5] = 0, 200
    labels = torch.arange(9).repeat_interleave(sizes)
    labels = labels[torch.randperm(len(labels), generator=generator)]
    size = labels.shape
    now, first = (
        replace(difficulty_of(integers(25, size) / 7, labels), right=integers(4, size) / 3, among=ranks)
        for _ in range(2)
    )
    return now, replace(progress(first, int(integers(11, ())), segments=2), stream=seed)


def masks(labels):
    return [(label, labels == label) for label in labels.unique().tolist()]


def anchor(window, now, then):
    weights = window.window(now, then).double()
    for _, mine in masks(now.labels):
        mean = weights[mine].mean()
        weights[mine] = (1 - window.share) * weights[mine] / torch.where(mean > 0, mean, 1.0) + window.share
    return weights.float()


def frontier(window, now, _):
    lower = torch.zeros_like(now.rank)
    for _, mine in masks(now.labels):
        right = float(now.right[mine].double().mean())
        room = max(0.0, 1 - window.width - window.skip_hardest)
        lower[mine] = min(max(right - window.lead * window.width, 0.0), room)
    return inside(now.rank, lower, lower + window.width)


def soft(window, now, then):
    box, rank = window.window(now, then).double(), now.rank
    weights = torch.zeros_like(rank)
    for _, mine in masks(now.labels):
        if box[mine].any():
            middle = (box[mine] * rank[mine]).sum() / box[mine].sum()
            width = (box[mine] > 0).double().mean()
            weights[mine] = torch.exp(-((rank[mine] - middle) / (window.spread * width)).square() / 2)
    return weights.float()


def drawn(window, now, then):
    weights = torch.zeros(len(now.labels))
    for label, mask in masks(now.labels):
        mine = torch.nonzero(mask).flatten()
        room = whole((1 - window.skip_hardest) * len(mine))
        count = min(room, whole(window.width * len(mine)))
        generator = rng.generator(then.stream, "random", label)
        if window.ranks == "subset":
            places = torch.randperm(room, generator=generator)[:count]
        else:
            places = torch.randint(room - count + 1, (1,), generator=generator) + torch.arange(count)
        weights[mine[torch.argsort(now.rank[mine])[places]]] = 1.0
    return weights


def residual(window, now, then):
    weights = torch.zeros(len(now.labels))
    known = then.first.right >= 0.5
    candidate = known & (now.right < 0.5)
    turn = 2 - known.long() - candidate.long()
    for _, mask in masks(now.labels):
        mine = torch.nonzero(mask).flatten()
        wanted = max(whole(window.share * int(candidate[mine].sum())), whole(window.least * len(mine)))
        weights[mine[torch.argsort(turn[mine] + now.rank[mine])][:wanted]] = 1.0
    return weights


NARROW = {"name": "budget", "width": 0.1}
BY_MASKS = {
    "anchor": ({"name": "anchor", "window": {"name": "budget"}, "share": 0.3}, anchor),
    "anchored bell": ({"name": "anchor", "window": {"name": "soft", "window": {"name": "frontier"}}}, anchor),
    "frontier": ({"name": "frontier", "width": 0.3, "skip_hardest": 0.1, "lead": 0.7}, frontier),
    "soft": ({"name": "soft", "window": {"name": "budget"}, "spread": 0.3}, soft),
    "soft where classes are empty": ({"name": "soft", "window": NARROW}, soft),
    "soft over weights": ({"name": "soft", "window": {"name": "anchor", "window": {"name": "tail"}}}, soft),
    "random": ({"name": "random", "width": 0.3, "skip_hardest": 0.2}, drawn),
    "random, contiguous": ({"name": "random", "width": 0.3, "ranks": "contiguous"}, drawn),
    "residual": ({"name": "residual", "share": 0.7, "least": 0.2}, residual),
}


@pytest.mark.parametrize("ranks", ["class", "all"])
@pytest.mark.parametrize("name", BY_MASKS)
@given(st.integers(0, 999))
@settings(max_examples=8)
def test_a_window_is_what_it_is_by_masks(name, ranks, seed):
    options, formula = BY_MASKS[name]
    window = build(Window, options, "window")
    now, then = uneven(seed, ranks)
    assert torch.equal(window(now, then), formula(window, now, then))


@pytest.mark.parametrize("ranks", ["class", "all"])
@pytest.mark.parametrize("name", ["soft", "anchor", "random", "residual", "frontier"])
@given(st.integers(0, 999))
@settings(max_examples=8)
def test_edges_are_what_they_are_by_masks(name, ranks, seed):
    now, then = uneven(seed, ranks)
    weights = build(Window, BY_MASKS[name][0], "window")(now, then) + 0.01
    lower, upper = [], []
    for _, mine in masks(now.labels):
        kept = now.rank[mine & (weights >= weights[mine].max() / 2)]
        lower.append(float(kept.min()))
        upper.append(float(kept.max()) + 1 / int(mine.sum()))
    assert edges(weights, now.rank, now.labels) == (sum(lower) / len(lower), sum(upper) / len(upper))
