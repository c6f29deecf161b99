"""The contract of every window in the folder, with its default options, and the edges of any window."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dasm.difficulty import rank_fraction
from dasm.plugins import build
from dasm.windows import Window, edges
from tests.handmade import difficulty_of, listed, progress

every_window = pytest.mark.parametrize("name", listed("windows"))
class_sizes = st.lists(st.integers(4, 30), min_size=1, max_size=4)


def made(name) -> Window:
    return build(Window, {"name": name}, "window")


def some_difficulty(sizes, seed):
    """Classes of these sizes, images in random order, scores all different."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    return difficulty_of(torch.randperm(len(labels), generator=generator) / 7, labels)


@every_window
@given(class_sizes, st.integers(0, 60), st.integers(1, 50), st.integers(0, 99))
def test_weights_are_never_negative_and_every_class_keeps_an_image(name, sizes, prefix, planned, seed):
    difficulty = some_difficulty(sizes, seed)
    weights = made(name)(difficulty, progress(difficulty, prefix, planned))
    assert weights.shape == difficulty.labels.shape
    assert weights.min() >= 0 and weights.isfinite().all()
    for label in range(len(sizes)):
        assert weights[difficulty.labels == label].sum() > 0


@every_window
@given(class_sizes, st.integers(0, 10), st.integers(0, 99))
def test_permuting_the_real_set_permutes_the_weights(name, sizes, prefix, seed):
    difficulty = some_difficulty(sizes, seed)
    order = torch.randperm(len(difficulty.labels), generator=torch.Generator().manual_seed(seed + 1))
    permuted = difficulty_of(difficulty.score[order], difficulty.labels[order])
    weights = made(name)(difficulty, progress(difficulty, prefix, 10))
    assert torch.equal(made(name)(permuted, progress(permuted, prefix, 10)), weights[order])


@every_window
@given(class_sizes, st.integers(0, 99))
def test_weights_of_a_class_do_not_depend_on_the_scores_of_another(name, sizes, seed):
    difficulty = some_difficulty(sizes, seed)
    first = difficulty.labels == 0
    other = difficulty_of(torch.where(first, difficulty.score, difficulty.score * 100 - 5), difficulty.labels)
    before, after = (made(name)(d, progress(d, 3, 10)) for d in (difficulty, other))
    assert torch.equal(before[first], after[first])


@every_window
def test_later_segments_never_learn_from_easier_images(name):
    difficulty = some_difficulty([40, 40], 0)

    def mean_score(prefix):
        weights = made(name)(difficulty, progress(difficulty, prefix, 10))
        return float((weights * difficulty.score).sum() / weights.sum())

    means = [mean_score(prefix) for prefix in range(0, 13, 2)]
    assert means == sorted(means)


def test_a_window_that_keeps_everyone_has_the_edges_0_and_1():
    difficulty = some_difficulty([5, 8], 0)
    assert edges(torch.ones(13), difficulty.rank, difficulty.labels) == (0, 1)


def test_edges_are_averaged_over_the_classes():
    labels = torch.tensor([0] * 4 + [1] * 5)
    rank = rank_fraction(torch.arange(9.0), labels)
    weights = torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.5, 0.0, 1.0])
    # Class 0 keeps [1/4, 3/4), class 1 reaches from 2/5 to 1.
    assert edges(weights, rank, labels) == pytest.approx(((0.25 + 0.4) / 2, (0.75 + 1) / 2))


def test_without_selection_everyone_has_the_same_weight():
    some = some_difficulty([5, 8], 0)
    assert made("all")(some, progress(some, 3, 4)).tolist() == [1] * 13
