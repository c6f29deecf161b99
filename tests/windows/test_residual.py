"""Wrong now and known to the reference, by hand: images known by their difficulty, from 0."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dasm.errors import ConfigError
from dasm.windows.residual import Residual
from tests.handmade import difficulty_of, progress
from tests.windows.test_windows import class_sizes, some_difficulty


def kept(right_now, right_first, **options):
    """Of as many images as there are letters: `+` right, `-` wrong, in order of difficulty but stored backwards."""
    size = len(right_now)
    scores = torch.arange(size).flip(0).float()
    plus = [torch.tensor([float(letter == "+") for letter in row]).flip(0) for row in (right_now, right_first)]
    now, first = (replace(difficulty_of(scores, [0] * size), right=right) for right in plus)
    found = Residual(**options)(now, progress(first, 3))
    assert set(found.tolist()) <= {0.0, 1.0}
    return sorted(scores[found > 0].int().tolist())


def test_the_easiest_share_of_what_is_wrong_now_and_known_to_the_reference():
    assert kept("+++-+-----", "++++++-++-", share=1.0, least=0.1) == [3, 5, 7, 8]
    assert kept("+++-+-----", "++++++-++-", share=0.5, least=0.1) == [3, 5]
    assert kept("+++-+-----", "++++++-++-", share=0.6, least=0.1) == [3, 5, 7]


def test_too_few_are_filled_with_the_easiest_that_the_reference_knows():
    assert kept("+++-+-----", "++-++++---", share=1.0, least=0.5) == [0, 1, 3, 5, 6]
    assert kept("++++------", "-+++++----", share=0.5, least=0.4) == [1, 2, 4, 5]


def test_and_then_with_the_easiest_of_the_rest():
    assert kept("-+--------", "-----+----", share=1.0, least=0.3) == [0, 1, 5]
    assert kept("+++-------", "----------", share=1.0, least=0.2) == [0, 1]


def test_everyone_can_be_wanted():
    assert kept("+-+-", "-++-", share=1.0, least=1.0) == [0, 1, 2, 3]


@pytest.mark.parametrize(("now", "first", "candidate"), [(1 / 3, 1 / 2, 1), (1 / 2, 1.0, 0), (0.0, 1 / 3, 0)])
def test_several_networks_go_by_the_majority(now, first, candidate):
    # Image 1 is a candidate or not; if it is not, the easier image 0 fills the window.
    difficulty = difficulty_of([0.0, 1.0], [0, 0])
    before = replace(difficulty, right=torch.tensor([1.0, first]))
    found = Residual(least=0.5)(replace(difficulty, right=torch.tensor([1.0, now])), progress(before, 1))
    assert found.argmax() == candidate and found.sum() == 1


@given(class_sizes, st.integers(1, 100), st.integers(1, 100), st.integers(0, 99))
def test_every_class_keeps_the_larger_of_its_share_of_candidates_and_the_least(sizes, share, least, seed):
    now = some_difficulty(sizes, seed)
    first = replace(now, right=some_difficulty(sizes, seed + 1).right)
    found = Residual(share=share / 100, least=least / 100)(now, progress(first, 3)) > 0
    for label, size in enumerate(sizes):
        mine = now.labels == label
        candidates = mine & (now.right < 0.5) & (first.right >= 0.5)
        wanted = max(-(-share * int(candidates.sum()) // 100), -(-least * size // 100))
        assert int((found & mine).sum()) == wanted
        taken = found & candidates
        if int(candidates.sum()) >= wanted:
            assert torch.equal(taken, found & mine)
            if int(taken.sum()) and bool((candidates & ~found).any()):
                assert now.score[taken].max() < now.score[candidates & ~found].min()


@pytest.mark.parametrize("option", ["share", "least"])
def test_shares_out_of_range_are_refused(option):
    with pytest.raises(ConfigError, match=rf"^{option} must be in \(0, 1\], got 0.0$"):
        Residual(**{option: 0.0})
