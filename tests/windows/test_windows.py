"""The contract of every window in the folder, with its default options, and the edges of any window."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dasm.difficulty import Difficulty, rank_fraction
from dasm.plugins import build
from dasm.windows import Window, edges
from tests.handmade import difficulty_of, listed, progress

# Options that have no default, and variants that are windows of their own.
OPTIONS = {
    "anchor": {"window": {"name": "budget"}},
    "blended": {"window": {"name": "budget"}},
    "group": {"sizes": [1, 1, 2]},
    "interleaved": {"planned_segments": 7},
    "linear": {"planned_segments": 7},
    "reversed": {"planned_segments": 7},
    "soft": {"window": {"name": "budget"}},
    "static": {"window": {"name": "budget"}},
}
VARIANTS = {
    "random, contiguous": {"name": "random", "ranks": "contiguous"},
    "hard_filter, hardest": {"name": "hard_filter", "drop": "hardest"},
    "soft frontier": {"name": "soft", "window": {"name": "frontier"}},
    "anchored static linear": {
        "name": "anchor",
        "window": {"name": "static", "window": {"name": "linear", "planned_segments": 7}},
    },
}
EVERY = [*listed("windows"), *VARIANTS]
# Those that promise that a later segment, or one whose evaluators know more, never learns from easier images. `random`
# and `interleaved` have no direction, `reversed` the other one, and `residual` keeps what is both wrong now and known
# to the reference, which may lie anywhere.
NO_ORDER = ("random", "interleaved", "residual", "reversed")
EASY_TO_HARD = [name for name in EVERY if name.split(",")[0] not in NO_ORDER]
FIXED = ["all", "hard_filter", "hard_filter, hardest"]

every_window = pytest.mark.parametrize("name", EVERY)
some_examples = settings(max_examples=8)
class_sizes = st.lists(st.integers(4, 30), min_size=1, max_size=4)


def made(name) -> Window:
    return build(Window, VARIANTS.get(name) or {"name": name, **OPTIONS.get(name, {})}, "window")


def some_difficulty(sizes, seed) -> Difficulty:
    """Classes of these sizes, images in random order, scores all different, some images right."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    scores = torch.randperm(len(labels), generator=generator) / 7
    right = torch.randint(4, (len(labels),), generator=generator) / 3
    return replace(difficulty_of(scores, labels), right=right)


def reordered(difficulty, order) -> Difficulty:
    return Difficulty(**{name: getattr(difficulty, name)[order] for name in ("score", "spread", "right", "labels")})


def weights_of(window, difficulty, prefix, planned=10, first=None):
    """With a segment for every second image."""
    return window(difficulty, replace(progress(first or difficulty, prefix, planned), segments=prefix // 2))


@every_window
@given(class_sizes, st.integers(0, 60), st.integers(1, 50), st.integers(0, 99))
@some_examples
def test_weights_are_never_negative_and_every_class_keeps_an_image(name, sizes, prefix, planned, seed):
    difficulty = some_difficulty(sizes, seed)
    first = replace(some_difficulty(sizes, seed + 1), labels=difficulty.labels)
    weights = weights_of(made(name), difficulty, prefix, planned, first)
    assert weights.shape == difficulty.labels.shape and weights.dtype == torch.float32
    assert weights.min() >= 0 and weights.isfinite().all()
    for label in range(len(sizes)):
        assert weights[difficulty.labels == label].sum() > 0


@every_window
@given(class_sizes, st.integers(0, 10), st.integers(0, 99))
@some_examples
def test_permuting_the_real_set_permutes_the_weights(name, sizes, prefix, seed):
    difficulty = some_difficulty(sizes, seed)
    order = torch.randperm(len(difficulty.labels), generator=torch.Generator().manual_seed(seed + 1))
    weights = weights_of(made(name), difficulty, prefix)
    torch.testing.assert_close(weights_of(made(name), reordered(difficulty, order), prefix), weights[order])


@every_window
@given(class_sizes, st.integers(0, 99))
@some_examples
def test_weights_of_a_class_do_not_depend_on_another(name, sizes, seed):
    difficulty = some_difficulty(sizes, seed)
    mine = difficulty.labels == 0
    other = replace(
        difficulty,
        score=torch.where(mine, difficulty.score, difficulty.score * -100),
        right=torch.where(mine, difficulty.right, 1 - difficulty.right),
    )
    before, after = (weights_of(made(name), found, 3) for found in (difficulty, other))
    assert torch.equal(before[mine], after[mine])
    torch.testing.assert_close(weights_of(made(name), reordered(difficulty, mine), 3), before[mine])


@every_window
def test_a_window_depends_on_its_arguments_alone(name):
    difficulty = some_difficulty([20, 30], 0)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    kept = weights_of(made(name), difficulty, 4)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(weights_of(made(name), difficulty, 4), kept)


def mean_scores(name):
    """Under the window, while segments are distilled and the evaluators get one more third of each class right."""
    difficulty = some_difficulty([40, 40], 0)
    means = []
    for prefix in range(0, 13, 2):
        now = replace(difficulty, right=(difficulty.rank < prefix / 12).float())
        weights = weights_of(made(name), now, prefix, planned=12, first=difficulty)
        means.append(float((weights * difficulty.score).sum() / weights.sum()))
    return means


@pytest.mark.parametrize("name", EASY_TO_HARD)
def test_later_segments_never_learn_from_easier_images(name):
    means = mean_scores(name)
    assert means == sorted(means)
    assert (means[0] == means[-1]) == (name in FIXED)


def test_the_control_goes_from_hard_to_easy():
    means = mean_scores("reversed")
    assert means == sorted(means, reverse=True) and means[0] > means[-1]


def test_a_window_that_keeps_everyone_has_the_edges_0_and_1():
    difficulty = some_difficulty([5, 8], 0)
    assert edges(torch.ones(13), difficulty.rank, difficulty.labels) == (0, 1)


def test_edges_are_averaged_over_the_classes():
    labels = torch.tensor([0] * 4 + [1] * 5)
    rank = rank_fraction(torch.arange(9.0), labels)
    weights = torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.5, 0.0, 1.0])
    # Class 0 keeps [1/4, 3/4), class 1 reaches from 2/5 to 1.
    assert edges(weights, rank, labels) == pytest.approx(((0.25 + 0.4) / 2, (0.75 + 1) / 2))


def test_the_edges_of_a_soft_window_are_where_it_has_half_of_its_height():
    rank = rank_fraction(torch.arange(10.0), torch.zeros(10, dtype=torch.long))
    weights = torch.tensor([0.1, 0.2, 0.49, 0.5, 0.9, 1.0, 0.9, 0.51, 0.4, 0.1]) * 3
    assert edges(weights, rank, torch.zeros(10, dtype=torch.long)) == pytest.approx((0.3, 0.8))


def test_without_selection_everyone_has_the_same_weight():
    some = some_difficulty([5, 8], 0)
    assert made("all")(some, progress(some, 3, 4)).tolist() == [1] * 13
