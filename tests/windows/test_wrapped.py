"""Windows around windows, and the random control: weights by hand, and what is drawn from them."""

from dataclasses import replace
from math import exp

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dasm.errors import ConfigError
from dasm.objective_parts.batches import RealBatches
from dasm.windows.all import All
from dasm.windows.anchor import Anchor
from dasm.windows.blended import Blended
from dasm.windows.budget import Budget
from dasm.windows.frontier import Frontier
from dasm.windows.linear import Linear
from dasm.windows.random import Random
from dasm.windows.soft import Soft
from dasm.windows.static import Static
from tests.handmade import difficulty_of, numbered_set, numbers, progress
from tests.windows.test_windows import class_sizes, some_difficulty

FOUR = difficulty_of([0.0, 1.0, 2.0, 3.0], [0] * 4)


def test_an_anchored_window_mixes_the_window_with_the_whole_class():
    # Half of the class holds 0.8 of the weight and its part, 0.1, of the other 0.2.
    weights = Anchor(window=Budget(width=0.5), share=0.2)(FOUR, progress(FOUR, 10))
    assert (weights / weights.sum()).tolist() == pytest.approx([0.05, 0.05, 0.45, 0.45])


@given(class_sizes, st.integers(0, 10), st.integers(0, 100), st.integers(0, 99))
def test_an_anchor_gives_the_whole_class_its_share_and_the_window_the_rest(sizes, prefix, share, seed):
    difficulty, epsilon = some_difficulty(sizes, seed), share / 100
    box = Budget()(difficulty, progress(difficulty, prefix)) > 0
    weights = Anchor(window=Budget(), share=epsilon)(difficulty, progress(difficulty, prefix)).double()
    for label, size in enumerate(sizes):
        mine = difficulty.labels == label
        outside = float(weights[mine & ~box].sum() / weights[mine].sum())
        assert outside == pytest.approx(epsilon * int((mine & ~box).sum()) / size, abs=1e-6)
        assert len(weights[mine & box].unique()) == 1


def test_batches_under_an_anchor_come_from_outside_the_window_as_often_as_it_says():
    labels = [0] * 200
    difficulty = difficulty_of(torch.arange(200.0), labels)
    weights = Anchor(window=Budget(width=0.5), share=0.25)(difficulty, progress(difficulty, 0))
    batches = RealBatches(data=numbered_set(labels), weights=weights, stream=0)
    drawn = torch.tensor([numbers(batches.draw(0, 8, i)) for i in range(200)])
    # A quarter from everyone, of which half lies outside.
    assert (drawn >= 100).double().mean().item() == pytest.approx(0.125, abs=0.025)


@given(class_sizes, st.integers(0, 100), st.integers(0, 99))
def test_an_anchor_around_everyone_is_no_window_at_all(sizes, share, seed):
    difficulty = some_difficulty(sizes, seed)
    assert (Anchor(window=All(), share=share / 100)(difficulty, progress(difficulty, 3)) == 1).all()


def test_a_class_too_small_for_the_window_gets_the_anchors_share_and_is_refused_without_one():
    # Ranks are counted inside the class: a single image has rank 0, which a window of the hard half does not hold.
    small = difficulty_of([0.0, 1.0, 2.0, 3.0, 5.0], [0] * 4 + [1])
    now = replace(progress(small, 10), segments=10)
    window = Linear(planned_segments=2)
    assert window(small, now).tolist() == [0, 0, 1, 1, 0]
    weights = Anchor(window=window, share=0.2)(small, now)
    assert weights.tolist() == pytest.approx([0.2, 0.2, 1.8, 1.8, 0.2])
    assert Soft(window=window)(small, now)[4] == 0
    for bad in (window, Soft(window=window)):
        with pytest.raises(ConfigError, match="window: must keep images of every class, got none of class 1"):
            RealBatches(data=numbered_set(small.labels.tolist()), weights=bad(small, now), stream=0)


def test_a_soft_window_is_a_bell_around_the_middle_of_the_box():
    ten = difficulty_of(torch.arange(10.0), [0] * 10)
    # The box keeps ranks 0.3 to 0.7, so its middle is 0.5 and its width 0.5.
    weights = Soft(window=Budget(width=0.5), spread=0.4)(ten, replace(progress(ten, 6), prefix_ipc=6))
    assert weights.tolist() == pytest.approx([exp(-(((i / 10 - 0.5) / 0.2) ** 2) / 2) for i in range(10)])


def test_by_default_the_bell_is_half_as_wide_as_the_box():
    weights = Soft(window=Budget(width=0.5))(FOUR, progress(FOUR, 10))
    # Middle 0.625, standard deviation 0.25.
    assert weights.tolist() == pytest.approx([exp(-((u - 0.625) ** 2) * 8) for u in (0, 0.25, 0.5, 0.75)])


def test_a_soft_window_goes_class_by_class():
    both = difficulty_of([0.0, 1.0, 2.0, 3.0, 9.0, 8.0, 7.0, 6.0], [0] * 4 + [1] * 4)
    first, second = Soft(window=Static(window=Budget()))(both, progress(both, 10)).chunk(2)
    assert torch.equal(first, second.flip(0))


def test_a_blended_window_goes_by_the_mean_of_both_ranks():
    # Ranks of state 0: 0, 1, 2, 3 quarters; of now: 3, 0, 1, 2. Mixed, in sixteenths: 3 3 7 11, 6 2 6 10, 9 1 5 9.
    now = difficulty_of([9.0, 0.0, 1.0, 2.0], [0] * 4)
    for share, halves in ((0.25, [0, 1, 2, 3]), (0.5, [1, 0, 2, 3]), (0.75, [2, 0, 1, 3])):
        kept = Blended(window=Budget(width=0.25), share=share)
        for prefix in (0, 5, 10):
            place = {0: 0, 5: 1.5, 10: 3}[prefix]
            expected = [float(place <= rank < place + 1) for rank in halves]
            assert kept(now, progress(FOUR, prefix)).tolist() == expected


@given(class_sizes, st.integers(0, 10), st.integers(0, 99))
def test_blending_none_is_static_and_blending_all_is_the_window_alone(sizes, prefix, seed):
    now, then = some_difficulty(sizes, seed), some_difficulty(sizes, seed + 1)
    then = replace(then, labels=now.labels)
    for window in (Budget(), Frontier(width=0.4)):
        none, every = (Blended(window=window, share=share)(now, progress(then, prefix)) for share in (0.0, 1.0))
        assert torch.equal(none, Static(window=window)(now, progress(then, prefix)))
        assert torch.equal(every, window(now, progress(then, prefix)))


@given(class_sizes, st.integers(1, 100), st.integers(0, 99))
def test_a_random_window_keeps_as_many_images_as_the_budget_begins_with(sizes, width, seed):
    difficulty = some_difficulty(sizes, seed)
    now = replace(progress(difficulty, 0), stream=seed)
    expected = Budget(width=width / 100)(difficulty, now)
    for ranks in ("subset", "contiguous"):
        found = Random(width=width / 100, ranks=ranks)(difficulty, now)
        for label in range(len(sizes)):
            mine = difficulty.labels == label
            assert found[mine].sum() == expected[mine].sum()
            places = (difficulty.rank[mine & (found > 0)] * int(mine.sum())).round().sort().values
            if ranks == "contiguous":
                assert (places.diff() == 1).all()


@pytest.mark.parametrize("ranks", ["subset", "contiguous"])
def test_random_windows_come_anywhere_but_at_the_skipped_end(ranks):
    difficulty = some_difficulty([20], 0)
    window = Random(width=0.25, skip_hardest=0.2, ranks=ranks)
    hits = torch.stack([window(difficulty, replace(progress(difficulty, 3), stream=s)) for s in range(300)]).mean(0)
    by_rank = hits[difficulty.rank.argsort()]
    assert (by_rank[16:] == 0).all() and (by_rank[:16] > 0).all()
    if ranks == "subset":
        assert by_rank[:16].tolist() == pytest.approx([5 / 16] * 16, abs=0.1)
    else:
        # Twelve places; rank 0 belongs to one of them, ranks 4 to 11 to five.
        assert by_rank[:16].tolist() == pytest.approx([min(i + 1, 5, 16 - i) / 12 for i in range(16)], abs=0.1)


@pytest.mark.parametrize("ranks", ["subset", "contiguous"])
def test_every_segment_and_every_class_draws_its_own(ranks):
    difficulty = some_difficulty([40, 40], 0)
    places = set()
    for stream in range(5):
        found = Random(width=0.3, ranks=ranks)(difficulty, replace(progress(difficulty, 3), stream=stream)) > 0
        for label in range(2):
            rank = difficulty.rank[found & (difficulty.labels == label)]
            places.add(tuple((rank * 40).round().int().sort().values.tolist()))
    # Ten draws; two contiguous windows out of 29 places may well fall together.
    assert len(places) >= (10 if ranks == "subset" else 7)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: Anchor(window=All(), share=1.1), r"share must be in \[0, 1\], got 1.1"),
        (lambda: Blended(window=All(), share=-0.1), r"share must be in \[0, 1\], got -0.1"),
        (lambda: Soft(window=All(), spread=0.0), "spread must be > 0, got 0.0"),
        (lambda: Random(width=0.0), r"width must be in \(0, 1\], got 0.0"),
    ],
)
def test_options_out_of_range_are_refused(make, rule):
    with pytest.raises(ConfigError, match=f"^{rule}$"):
        make()
