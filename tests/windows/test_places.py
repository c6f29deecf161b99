"""Where the hard windows lie, by hand: eight images of a class, known by their difficulty from 0 to 7."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dasm.errors import ConfigError
from dasm.windows.budget import Budget
from dasm.windows.expanding import Expanding
from dasm.windows.frontier import Frontier
from dasm.windows.group import Group
from dasm.windows.hard_filter import HardFilter
from dasm.windows.interleaved import Interleaved
from dasm.windows.linear import Linear
from dasm.windows.reversed import Reversed
from dasm.windows.static import Static
from dasm.windows.tail import Tail
from tests.handmade import difficulty_of, progress
from tests.windows.test_windows import class_sizes, some_difficulty

SCORES = torch.tensor([3.0, 1.0, 0.0, 2.0, 7.0, 5.0, 4.0, 6.0])
EIGHT = difficulty_of(SCORES, [0] * 8)
# As hard as they were at state 0: the other way round.
OPPOSITE = difficulty_of(7 - SCORES, [0] * 8)
EVERYONE = list(range(8))


def kept(window, prefix=0, planned=4, segments=1, difficulty=EIGHT, first=OPPOSITE, first_windowed=1):
    now = replace(progress(first, prefix, planned), segments=segments, first_windowed=first_windowed)
    return sorted(SCORES[window(difficulty, now) > 0].int().tolist())


@pytest.mark.parametrize(
    ("options", "segments", "expected"),
    [
        ({}, 0, [0, 1, 2, 3]),
        ({}, 1, [1, 2, 3, 4]),
        ({}, 2, [2, 3, 4, 5]),
        ({}, 4, [4, 5, 6, 7]),
        ({}, 9, [4, 5, 6, 7]),
        ({"exponent": 2.0}, 2, [1, 2, 3, 4]),
        ({"skip_hardest": 0.25}, 4, [2, 3, 4, 5]),
        ({"width": 0.25}, 4, [6, 7]),
        ({"planned_segments": 3}, 1, [2, 3, 4, 5]),
        ({"planned_segments": 2}, 1, [4, 5, 6, 7]),
        ({"planned_segments": 1}, 0, [0, 1, 2, 3]),
        ({"planned_segments": 1}, 1, [4, 5, 6, 7]),
    ],
)
@pytest.mark.parametrize("prefix", [0, 3])
def test_a_linear_window_goes_by_the_number_of_segments(options, segments, expected, prefix):
    assert kept(Linear(**{"planned_segments": 5} | options), prefix, segments=segments) == expected


@pytest.mark.parametrize(
    ("options", "prefix", "expected"),
    [
        ({}, 0, EVERYONE[:6]),
        ({}, 2, EVERYONE[:7]),
        ({}, 4, EVERYONE),
        ({}, 9, EVERYONE),
        ({"start": 0.25}, 0, [0, 1]),
        ({"start": 0.25}, 2, EVERYONE[:5]),
        ({"start": 0.25, "skip_hardest": 0.25}, 4, EVERYONE[:6]),
        ({"start": 1.0}, 0, EVERYONE),
    ],
)
@pytest.mark.parametrize("segments", [0, 3])
def test_an_expanding_window_adds_harder_images_and_drops_none(options, prefix, expected, segments):
    assert kept(Expanding(**options), prefix, segments=segments) == expected


@pytest.mark.parametrize("prefix", [0, 3])
def test_groups_are_disjoint_and_as_large_as_their_segments(prefix):
    window = Group(sizes=(1, 1, 2, 4))
    groups = [kept(window, prefix, segments=segments) for segments in range(6)]
    assert groups == [[0], [1], [2, 3], [4, 5, 6, 7], [4, 5, 6, 7], [4, 5, 6, 7]]


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: Group(sizes=()), "sizes must be at least one"),
        (lambda: Group(sizes=(2, 0)), "sizes must be >= 1"),
        (lambda: Expanding(start=0.0), r"start must be in \(0, 1\]"),
        (lambda: Expanding(skip_hardest=0.3), r"skip_hardest must be in \[0, 1 - start\]"),
    ],
)
def test_controls_out_of_range_are_refused(make, rule):
    with pytest.raises(ConfigError, match=rule):
        make()


@pytest.mark.parametrize(
    ("options", "prefix", "expected"),
    [
        ({}, 0, EVERYONE),
        ({}, 2, [2, 3, 4, 5, 6, 7]),
        ({}, 4, [4, 5, 6, 7]),
        ({}, 9, [4, 5, 6, 7]),
        ({"width": 0.25}, 4, [6, 7]),
        ({"exponent": 2.0}, 2, [1, 2, 3, 4, 5, 6, 7]),
        ({"skip_hardest": 0.25}, 0, [0, 1, 2, 3, 4, 5]),
        ({"skip_hardest": 0.25}, 4, [2, 3, 4, 5]),
        ({"width": 1.0}, 4, EVERYONE),
    ],
)
def test_a_tail_loses_easy_images_and_no_hard_ones(options, prefix, expected):
    assert kept(Tail(**options), prefix) == expected


def in_turn(window, segments, first_windowed):
    """What each segment with a window keeps, with a plan of so many segments."""
    return [kept(window, segments=number, first_windowed=first_windowed) for number in range(first_windowed, segments)]


@pytest.mark.parametrize("first_windowed", [0, 1])
@pytest.mark.parametrize("segments", range(2, 7))
@pytest.mark.parametrize("options", [{}, {"width": 0.25}, {"skip_hardest": 0.25}, {"exponent": 2.0}])
def test_a_reversed_window_is_the_linear_one_in_reverse_order(segments, first_windowed, options):
    plan = {"planned_segments": segments, **options}
    backward = in_turn(Reversed(**plan), segments, first_windowed)
    assert backward == in_turn(Linear(**plan), segments, first_windowed)[::-1]


def test_a_reversed_window_begins_with_the_hardest_and_stays_with_the_easiest():
    window = Reversed(planned_segments=3)
    found = [kept(window, segments=number, first_windowed=0) for number in range(5)]
    assert found == [[4, 5, 6, 7], [2, 3, 4, 5], [0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]]


@pytest.mark.parametrize("first_windowed", [0, 1])
@pytest.mark.parametrize("segments", range(1, 8))
@pytest.mark.parametrize("options", [{}, {"width": 0.25}, {"skip_hardest": 0.25}, {"exponent": 2.0}])
def test_interleaved_windows_are_the_linear_ones_from_both_ends_in_turns(segments, first_windowed, options):
    plan = {"planned_segments": segments, **options}
    left, expected = in_turn(Linear(**plan), segments, first_windowed), []
    while left:
        expected.append(left.pop(-1 if len(expected) % 2 else 0))
    assert in_turn(Interleaved(**plan), segments, first_windowed) == expected


def test_an_interleaved_window_ends_in_the_middle_and_stays_there():
    window = Interleaved(planned_segments=3, width=0.5)
    found = [kept(window, segments=number, first_windowed=0) for number in range(5)]
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [2, 3, 4, 5], [2, 3, 4, 5], [2, 3, 4, 5]]


def test_an_interleaved_window_beyond_a_plan_of_one_segment_keeps_the_easy_end():
    assert kept(Interleaved(planned_segments=1), segments=3, first_windowed=1) == [0, 1, 2, 3]


def right_up_to(*ranks):
    """Two classes of eight that the evaluators get right up to these ranks."""
    right = torch.cat([(rank > SCORES).float() for rank in ranks])
    labels = torch.arange(2).repeat_interleave(8)
    return replace(difficulty_of(torch.cat([SCORES, SCORES + 50]), labels), right=right)


@pytest.mark.parametrize(
    ("options", "right", "expected"),
    [
        ({}, 0, [0, 1, 2, 3]),
        ({}, 2, [0, 1, 2, 3]),
        ({}, 3, [1, 2, 3, 4]),
        ({}, 5, [3, 4, 5, 6]),
        ({}, 6, [4, 5, 6, 7]),
        ({}, 8, [4, 5, 6, 7]),
        ({"lead": 0.0}, 3, [3, 4, 5, 6]),
        ({"lead": 1.0}, 5, [1, 2, 3, 4]),
        ({"width": 0.25}, 5, [4, 5]),
        ({"skip_hardest": 0.25}, 8, [2, 3, 4, 5]),
        ({"width": 1.0}, 5, EVERYONE),
    ],
)
def test_a_frontier_window_lies_around_the_share_that_is_right_class_by_class(options, right, expected):
    found = right_up_to(right, 4)
    first, second = Frontier(**options)(found, progress(found, 0)).chunk(2)
    assert sorted(SCORES[first > 0].int().tolist()) == expected
    if not options:
        assert sorted(SCORES[second > 0].int().tolist()) == [2, 3, 4, 5]


def test_the_frontier_counts_evaluators_not_majorities():
    # Half of the evaluators are right on every image: q = 1/2, although nobody knows which half of the images.
    half = replace(EIGHT, right=torch.full((8,), 0.5))
    assert kept(Frontier(), difficulty=half) == [2, 3, 4, 5]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"share": 0.25}, [2, 3, 4, 5, 6, 7]),
        ({"share": 0.0}, EVERYONE),
        ({"share": 0.5, "drop": "hardest"}, [0, 1, 2, 3]),
        ({"share": 0.25, "drop": "hardest"}, [0, 1, 2, 3, 4, 5]),
    ],
)
@pytest.mark.parametrize("prefix", [0, 2, 4])
def test_the_naive_filter_never_moves_and_never_reads_the_scores_again(options, expected, prefix):
    assert kept(HardFilter(**options), prefix, first=EIGHT, difficulty=OPPOSITE) == expected


@given(class_sizes, st.integers(0, 99), st.sampled_from(["easiest", "hardest"]), st.integers(0, 99))
def test_the_naive_filter_drops_the_share_within_one_image(sizes, share, drop, seed):
    difficulty = some_difficulty(sizes, seed)
    found = HardFilter(share=share / 100, drop=drop)(difficulty, progress(difficulty, 3)) > 0
    for label, size in enumerate(sizes):
        mine = difficulty.labels == label
        dropped = difficulty.rank[mine & ~found]
        assert abs(len(dropped) - Fraction(share, 100) * size) < 1
        if len(dropped):
            assert (dropped.min() == 0) if drop == "easiest" else (dropped.max() == (size - 1) / size)


@pytest.mark.parametrize("prefix", [0, 2, 4])
def test_a_static_window_moves_over_the_scores_of_state_0(prefix):
    static = kept(Static(window=Budget()), prefix, difficulty=EIGHT, first=OPPOSITE)
    assert static == kept(Budget(), prefix, difficulty=OPPOSITE)
    assert static == [7 - i for i in reversed(kept(Budget(), prefix, difficulty=EIGHT))]


def test_a_static_window_stays_where_the_evaluators_begin_to_fail():
    """Half of the class is right now, all of it was at state 0: who is hard is of then, the place of now."""
    now, then = right_up_to(4, 4), replace(right_up_to(8, 8), score=-right_up_to(8, 8).score)
    weights = Static(window=Frontier(width=0.5))(now, replace(progress(then, 2), first=then))
    assert torch.equal(weights, Frontier(width=0.5)(replace(now, score=then.score), progress(now, 2)))
    assert not torch.equal(weights, Frontier(width=0.5)(then, progress(now, 2)))


@pytest.mark.parametrize("window", [Linear, Tail, Reversed, Frontier])
@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"width": 0.0}, r"width must be in \(0, 1\], got 0.0"),
        ({"width": 0.6, "skip_hardest": 0.5}, r"skip_hardest must be in \[0, 1 - width\], got 0.5"),
    ],
)
def test_a_window_that_does_not_fit_is_refused(window, options, rule):
    plan = {"planned_segments": 3} if window in (Linear, Reversed) else {}
    with pytest.raises(ConfigError, match=f"^{rule}$"):
        window(**plan, **options)


@pytest.mark.parametrize(
    ("window", "options", "rule"),
    [
        (Linear, {"planned_segments": 0}, "planned_segments must be >= 1, got 0"),
        (Linear, {"planned_segments": 2, "exponent": 0.0}, "exponent must be > 0, got 0.0"),
        (Tail, {"exponent": -1.0}, "exponent must be > 0, got -1.0"),
        (Reversed, {"planned_segments": 0}, "planned_segments must be >= 1, got 0"),
        (Reversed, {"planned_segments": 2, "exponent": 0.0}, "exponent must be > 0, got 0.0"),
        (Frontier, {"lead": 1.5}, r"lead must be in \[0, 1\], got 1.5"),
        (HardFilter, {"share": 1.0}, r"share must be in \[0, 1\), got 1.0"),
    ],
)
def test_options_out_of_range_are_refused(window, options, rule):
    with pytest.raises(ConfigError, match=f"^{rule}$"):
        window(**options)
