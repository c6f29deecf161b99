"""How many images of every class are left, by hand and by the published numbers, and which."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dasm.data.long_tailed import LongTailed
from dasm.errors import ConfigError
from tests.data.wrapping import Given, sizes


def tail(counts, factor, seed=0):
    return LongTailed(of=Given(sizes=tuple(counts)), factor=float(factor)).open(seed)


@pytest.mark.parametrize(
    ("counts", "factor", "expected"),
    [
        ([100, 100, 100], 4, [100, 50, 25]),
        ([100, 100], 100, [100, 1]),
        ([7, 7, 7], 1, [7, 7, 7]),
        ([10, 10, 10], 4, [10, 5, 2]),
        # 3 is a third of 9, and not 2.999….
        ([9, 9], 3, [9, 3]),
        # A class that has fewer keeps all; the largest class is not the first.
        ([3, 100, 100], 100, [3, 10, 1]),
        ([20, 9, 100, 4], 8, [20, 9, 25, 4]),
    ],
)
def test_the_profile_by_hand(counts, factor, expected):
    assert sizes(tail(counts, factor)) == expected


@pytest.mark.parametrize(
    ("k", "each", "factor", "whole", "smallest"),
    [(10, 5000, 100, 12_406, 50), (10, 5000, 10, 20_431, 500), (100, 500, 100, 10_847, 5), (100, 500, 10, 19_573, 50)],
)
def test_the_sizes_are_those_of_long_tailed_cifar(k, each, factor, whole, smallest):
    """As every paper on CIFAR-10-LT and CIFAR-100-LT has them."""
    found = sizes(tail([each] * k, factor))
    assert (sum(found), found[0], found[-1]) == (whole, each, smallest)
    if (k, factor) == (10, 100):
        assert found == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]


some_sizes = st.lists(st.integers(1, 60), min_size=2, max_size=6)


@given(some_sizes, st.floats(1, 60), st.floats(1, 60), st.integers(0, 99))
def test_a_larger_factor_leaves_out_the_same_images_and_more(counts, one, other, seed):
    low, high = sorted(min(factor, max(counts)) for factor in (one, other))
    more, fewer = (tail(counts, factor, seed) for factor in (low, high))
    assert set(fewer.splits["train"]) <= set(more.splits["train"])
    for source, factor in ((more, low), (fewer, high)):
        kept = source.splits["train"].tolist()
        assert kept == sorted(kept)
        for label, (found, had) in enumerate(zip(sizes(source), counts, strict=True)):
            exact = max(counts) * factor ** (-label / (len(counts) - 1))
            assert 1 <= found <= had and (found == had or exact - 1 < found <= exact + 1e-6)


def test_every_image_of_a_class_is_as_likely_to_stay():
    kept = np.array([np.isin(np.arange(20, 40), tail([20, 20], 4, seed).splits["train"]) for seed in range(400)])
    assert (kept.sum(1) == 5).all()
    # A quarter of 400, give or take four standard deviations.
    assert (abs(kept.sum(0) - 100) < 4 * (400 * 0.25 * 0.75) ** 0.5).all()


def test_every_class_is_drawn_by_itself():
    """Else the places kept of a rarer class would be among those kept of a more frequent one."""
    kept = tail([40, 40, 40], 4).splits["train"]
    first, second = (set(kept[(kept >= start) & (kept < start + 40)] - start) for start in (40, 80))
    assert (len(first), len(second)) == (20, 10)
    assert not second <= first


@pytest.mark.parametrize("factor", [0.99, 0.0, -3.0, float("nan")])
def test_a_factor_below_one_is_refused(factor):
    with pytest.raises(ConfigError, match=rf"^factor must be >= 1, got {factor}$"):
        LongTailed(of=Given(sizes=(2, 2)), factor=factor)


@pytest.mark.parametrize("factor", [9.5, float("inf")])
def test_a_tail_that_would_end_before_the_last_class_is_refused(factor):
    rule = f"must have {factor:g} training images in the largest class, or none of the last are kept, got 9"
    with pytest.raises(ConfigError, match=rf"^given: {rule} \(a smaller factor needs fewer\)$"):
        tail([9, 9, 5], factor)
    assert sizes(tail([9, 9, 5], 9)) == [9, 3, 1]
