"""Draws that are kept for a block of iterations are those that were drawn one at a time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dasm import rng
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.steps import blocks
from dasm.steps.blocks import IndexBlocks
from tests.handmade import numbered_set, numbers

LABELS = [0, 1, 1, 0] * 10
WINDOWS = {"hard": [0.5] * 40, "narrow": [1.0, 0.0, 2.0, 3.0] * 10, "soft": [1.0, 0.0, 2.0, 0.5, 0.0] * 8}


def drawn_at_once(data, weights, stream, label, batch_size, iteration):
    """How a batch was drawn before there were blocks: everything anew at every draw."""
    members = data.members(label)
    members = members[weights[members] > 0]
    size = min(batch_size, len(members))
    own = weights[members]
    if bool((own == own[0]).all()):
        epoch, position = divmod(iteration, len(members) // size)
        generator = rng.generator(stream, "class", label, epoch)
        order = torch.randperm(len(members), generator=generator)[position * size : (position + 1) * size]
    else:
        # One draw, then equal steps through the weights laid end to end in a random order.
        generator = rng.generator(rng.derive(stream, "class", label, iteration))
        mixed = torch.randperm(len(members), generator=generator).tolist()
        first = float(torch.rand((), dtype=torch.float64, generator=generator))
        order, end = [], 0.0
        for image in mixed:
            end += float(own[image])
            while len(order) < size and (len(order) + first) / size * float(own.sum()) < end:
                order.append(image)
    return members[order].tolist()


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("size", [3, 7, 100])
def test_real_batches_are_those_drawn_one_at_a_time(window, size, monkeypatch):
    monkeypatch.setattr(blocks, "_ITERATIONS", 5)
    data, weights = numbered_set(LABELS), torch.tensor(WINDOWS[window])
    batches = RealBatches(data=data, weights=weights, stream=3)
    # In order over several blocks, then back, then in classes' own order.
    for iteration in [*range(13), 2, 50, 3]:
        for label in (0, 1):
            expected = drawn_at_once(data, weights, 3, label, size, iteration)
            assert numbers(batches.draw(label, size, iteration)) == expected
            assert numbers(batches.draw(label, 2, iteration)) == drawn_at_once(data, weights, 3, label, 2, iteration)


def test_synthetic_batches_are_those_drawn_one_at_a_time(monkeypatch):
    monkeypatch.setattr(blocks, "_ITERATIONS", 4)
    pixels = [torch.arange(9.0)[:, None, None, None].expand(-1, 1, 2, 2) / 255 + c / 10 for c in range(2)]
    batches = SyntheticBatches(pixels=pixels, factor=1, mean=torch.zeros(1), std=torch.ones(1), stream=7)
    for iteration in (*range(9), 1):
        for label in (0, 1):
            chosen = torch.randperm(9, generator=rng.generator(7, "class", label, iteration))[:4]
            assert torch.equal(batches.draw(label, 4, iteration), pixels[label][chosen])


@given(st.integers(1, 9), st.integers(1, 40), st.lists(st.integers(0, 30), min_size=1, max_size=12))
def test_a_block_holds_what_is_drawn_whatever_its_length_and_order(iterations, most, asked):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_ITERATIONS", iterations)
        patch.setattr(blocks, "_INDICES", most)
        held = IndexBlocks(lambda label, i: torch.arange(label + 1) + 100 * i, (1, 4, 2), torch.device("cpu"))
        for iteration in asked:
            for label in (4, 1, 2):
                assert held.at(label, iteration).tolist() == [100 * iteration + j for j in range(label + 1)]


def test_a_block_is_brought_once_and_holds_no_more_indices_than_fit(monkeypatch):
    moved = []
    monkeypatch.setattr(blocks, "brought", lambda tensor, device: (moved.append(len(tensor)), tensor)[1])
    monkeypatch.setattr(blocks, "_INDICES", 50)
    held = IndexBlocks(lambda label, i: torch.zeros(4, dtype=torch.long), range(3), torch.device("cpu"))
    for iteration in range(12):
        for label in range(3):
            held.at(label, iteration)
    assert moved == [48, 48, 48]


def test_a_batch_larger_than_a_block_is_drawn_all_the_same(monkeypatch):
    monkeypatch.setattr(blocks, "_INDICES", 2)
    held = IndexBlocks(lambda label, i: torch.arange(5) + i, range(1), torch.device("cpu"))
    assert held.at(0, 7).tolist() == [7, 8, 9, 10, 11]
