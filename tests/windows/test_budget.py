from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dasm.errors import ConfigError
from dasm.windows.budget import Budget
from tests.handmade import difficulty_of, progress
from tests.windows.test_windows import class_sizes, some_difficulty

hundredths = st.integers(1, 100)


def kept(window, difficulty, prefix=0, planned=10):
    return window(difficulty, progress(difficulty, prefix, planned)) > 0


def kept_ranks(window, prefix, planned=4):
    """Which of the 8 images of a class, from easy to hard, are kept; two classes that must agree."""
    scores = torch.tensor([3.0, 1.0, 0.0, 2.0, 7.0, 5.0, 4.0, 6.0])
    difficulty = difficulty_of(torch.cat([scores, scores + 50]), [0] * 8 + [1] * 8)
    first, second = kept(window, difficulty, prefix, planned).chunk(2)
    assert torch.equal(first, second)
    return sorted(scores[first].int().tolist())


@pytest.mark.parametrize(
    ("options", "prefix", "expected"),
    [
        ({}, 0, [0, 1, 2, 3]),
        ({}, 2, [2, 3, 4, 5]),
        ({}, 4, [4, 5, 6, 7]),
        ({}, 9, [4, 5, 6, 7]),
        ({"exponent": 2.0}, 2, [1, 2, 3, 4]),
        ({"exponent": 2.0}, 4, [4, 5, 6, 7]),
        ({"exponent": 0.5}, 1, [2, 3, 4, 5]),
        ({"skip_hardest": 0.25}, 0, [0, 1, 2, 3]),
        ({"skip_hardest": 0.25}, 2, [1, 2, 3, 4]),
        ({"skip_hardest": 0.25}, 4, [2, 3, 4, 5]),
        ({"width": 0.25}, 4, [6, 7]),
        ({"width": 0.25}, 0, [0, 1]),
        ({"width": 1.0}, 3, list(range(8))),
    ],
)
def test_the_window_lies_where_the_formula_says(options, prefix, expected):
    assert kept_ranks(Budget(**options), prefix) == expected


@given(class_sizes, hundredths, st.integers(0, 100), st.integers(0, 10), st.integers(0, 99))
def test_exactly_the_ranks_from_a_up_to_a_plus_width_are_kept(sizes, width, skip, prefix, seed):
    skip = max(0, min(skip, 99 - width))
    window = Budget(width=width / 100, skip_hardest=skip / 100)
    difficulty = some_difficulty([*sizes, 7], seed)
    lower = Fraction(100 - width - skip, 100) * Fraction(prefix, 10)
    upper = lower + Fraction(width, 100)
    found = kept(window, difficulty, prefix)
    for label in range(len(sizes) + 1):
        members = torch.nonzero(difficulty.labels == label).flatten().tolist()
        members.sort(key=lambda i: difficulty.score[i])
        for place, i in enumerate(members):
            assert bool(found[i]) == (lower <= Fraction(place, len(members)) < upper)


@given(class_sizes, hundredths, st.integers(0, 12), st.integers(0, 99))
def test_the_share_kept_is_the_width_within_one_image_of_every_class(sizes, width, prefix, seed):
    difficulty = some_difficulty(sizes, seed)
    found = kept(Budget(width=width / 100), difficulty, prefix)
    for label, size in enumerate(sizes):
        assert abs(int(found[difficulty.labels == label].sum()) - width / 100 * size) < 1


@given(class_sizes, st.integers(0, 12), st.integers(0, 99))
def test_full_width_keeps_everyone(sizes, prefix, seed):
    assert kept(Budget(width=1.0), some_difficulty(sizes, seed), prefix).all()


@given(class_sizes, st.integers(1, 60), st.integers(1, 40), st.integers(0, 12), st.integers(0, 99))
def test_the_hardest_are_never_reached(sizes, width, skip, prefix, seed):
    difficulty = some_difficulty(sizes, seed)
    found = kept(Budget(width=width / 100, skip_hardest=skip / 100 - 1e-9), difficulty, prefix)
    assert (difficulty.rank[found] < 1 - skip / 100 + 1e-6).all()


@given(class_sizes, st.integers(5, 100), st.integers(0, 12), st.integers(0, 99))
def test_only_the_order_of_the_scores_counts(sizes, width, prefix, seed):
    difficulty, window = some_difficulty(sizes, seed), Budget(width=width / 100)
    stretched = difficulty_of((difficulty.score / 8).exp() * 3 - 40, difficulty.labels)
    assert len(stretched.score.unique()) == len(stretched.score)
    assert torch.equal(kept(window, difficulty, prefix), kept(window, stretched, prefix))


@given(st.integers(10, 60), st.integers(20, 60), st.integers(0, 99))
def test_the_mean_score_inside_rises_with_the_images_distilled(size, width, seed):
    difficulty, window = some_difficulty([size, 2 * size], seed), Budget(width=width / 100)
    means = [float(difficulty.score[kept(window, difficulty, prefix)].mean()) for prefix in (0, 5, 10)]
    assert means[0] < means[1] < means[2]


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"width": 0.0}, r"width must be in \(0, 1\], got 0.0"),
        ({"width": 1.1}, r"width must be in \(0, 1\], got 1.1"),
        ({"width": 0.6, "skip_hardest": 0.5}, r"skip_hardest must be in \[0, 1 - width\], got 0.5"),
        ({"skip_hardest": -0.1}, r"skip_hardest must be in \[0, 1 - width\], got -0.1"),
        ({"exponent": 0.0}, r"exponent must be > 0, got 0.0"),
        ({"width": float("nan")}, r"width must be in \(0, 1\], got nan"),
    ],
)
def test_a_window_that_does_not_fit_is_refused(options, rule):
    with pytest.raises(ConfigError, match=f"^{rule}$"):
        Budget(**options)


@given(st.integers(1, 99))
def test_width_and_skipped_share_may_add_up_to_one(width):
    assert Budget(width=width / 100, skip_hardest=(100 - width) / 100)
