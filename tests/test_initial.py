import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dasm.difficulty import rank_fraction
from dasm.errors import ConfigError
from dasm.initial import choose_sources
from tests.handmade import numbered_set

LABELS = [0, 1] * 20
NOBODY = torch.zeros(0, dtype=torch.long)
EVERYONE = torch.ones(40)


def chosen(weights=EVERYONE, rank=None, count=4, used=NOBODY, stream=0, labels=LABELS):
    return choose_sources(numbered_set(labels), weights, rank, count, used, stream)


@given(st.integers(1, 20), st.integers(0, 99))
def test_every_class_gets_images_of_its_own_and_none_twice(count, stream):
    rows = chosen(count=count, stream=stream).tolist()
    for label, row in enumerate(rows):
        assert len(set(row)) == count and all(LABELS[i] == label for i in row)


def test_without_a_window_every_prefix_of_a_choice_is_the_smaller_choice():
    assert torch.equal(chosen(count=9)[:, :4], chosen(count=4))


def test_without_a_window_segments_go_on_where_the_last_one_stopped():
    first = chosen(count=4)
    second = chosen(count=5, used=first.flatten())
    assert torch.equal(torch.cat([first, second], dim=1), chosen(count=9))


def test_the_order_of_a_class_is_random():
    rows = chosen(count=20)
    assert rows[0].tolist() != sorted(rows[0].tolist())
    assert [i + 1 for i in rows[0].tolist()] != rows[1].tolist()
    assert not torch.equal(rows, chosen(count=20, stream=1))


def windowed(keep, count, used=NOBODY):
    score = torch.randperm(40, generator=torch.Generator().manual_seed(1)).float()
    rank = rank_fraction(score, torch.tensor(LABELS))
    weights = ((rank >= keep[0] - 1e-9) & (rank < keep[1] - 1e-9)).float()
    rows = chosen(weights, rank, count, used)
    return [[round(rank[i].item() * 20) for i in row] for row in rows.tolist()], rows


def test_under_a_window_sources_are_spread_evenly_over_its_ranks():
    # Ten images of each class, ranks 5 to 14: the middles of two halves, of five fifths.
    assert windowed((0.25, 0.75), 2)[0] == [[7, 12]] * 2
    assert windowed((0.25, 0.75), 5)[0] == [[6, 8, 10, 12, 14]] * 2
    assert windowed((0.25, 0.75), 10)[0] == [list(range(5, 15))] * 2


def test_under_a_window_used_images_are_passed_over_while_enough_remain():
    _, first = windowed((0.25, 0.75), 4)
    ranks, second = windowed((0.25, 0.75), 4, used=first.flatten())
    assert not set(first.flatten().tolist()) & set(second.flatten().tolist())
    assert all(5 <= rank < 15 for row in ranks for rank in row)


def test_used_images_come_again_after_the_others_those_least_used_first():
    taken = [chosen(count=8)]
    for _ in range(9):
        taken.append(chosen(count=8, used=torch.cat([rows.flatten() for rows in taken])))
    # Twenty images of a class: four are left for the third segment, which takes the first four again; and so on.
    assert torch.equal(taken[2][:, 4:], taken[0][:, :4])
    for row in torch.cat(taken, dim=1).tolist():
        assert all(row.count(image) == 4 for image in {*row}) and len({*row}) == 20


def test_under_a_window_the_least_used_come_first_and_the_others_are_spread():
    _, first = windowed((0.25, 0.75), 7)
    ranks, second = windowed((0.25, 0.75), 7, used=first.flatten())
    for before, now, places in zip(first.tolist(), second.tolist(), ranks, strict=True):
        assert len({*before} | {*now}) == 10, "the three that were left, and four again"
        assert places == sorted(places)
    _, third = windowed((0.25, 0.75), 6, used=torch.cat([first, second], dim=1).flatten())
    assert all(
        len({*a} & {*b} & {*c}) == 0 for a, b, c in zip(*(x.tolist() for x in (first, second, third)), strict=True)
    )


def soft(weights, count, used=NOBODY):
    """Sources of one class whose images are as hard as their numbers, under these weights."""
    labels = [0] * len(weights)
    rank = rank_fraction(torch.arange(float(len(weights))), torch.tensor(labels))
    return chosen(torch.tensor(weights), rank, count, used, labels=labels)[0].tolist()


def test_under_a_soft_window_sources_are_the_middles_of_parts_of_equal_weight():
    # 3/8 of the weight on images 2 and 3 each, so that 1/4 and 3/4 of the weight lie in them.
    assert soft([1.0, 1.0, 6.0, 6.0, 1.0, 1.0], 2) == [2, 3]
    # The middles of quarters: between images 0 and 1, between 2 and 3, inside 4 and inside 5.
    assert soft([1.0, 1.0, 1.0, 1.0, 2.0, 2.0], 4) == [1, 3, 4, 5]


def test_an_image_fills_one_part_at_most():
    # Half of the weight would make image 2 two of four sources; the others give 3/8 of a source each.
    assert soft([1.0, 1.0, 8.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 4) == [1, 2, 5, 7]


def test_under_a_soft_window_used_images_are_passed_over_and_weightless_ones_never_taken():
    assert soft([1.0, 2.0, 3.0, 0.0, 3.0, 2.0, 1.0], 2, used=torch.tensor([2, 4])) == [1, 5]


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99), st.sampled_from([1.0, 4.0, 40.0]))
def test_sources_under_any_weights_differ_and_go_from_easy_to_hard(count, more, seed, sharpness):
    generator = torch.Generator().manual_seed(seed)
    weights = (torch.rand(count + more, generator=generator) * sharpness).exp()
    found = soft(weights.tolist(), count)
    assert found == sorted(set(found)) and len(found) == count


def test_a_class_with_too_few_images_is_refused_with_its_name_and_the_numbers():
    with pytest.raises(ConfigError) as caught:
        chosen(labels=[0, 0, 0, 1, 1], weights=torch.ones(5), count=3)
    message = str(caught.value)
    assert (
        message.startswith("class 1 (class 1): must have at least 3 training images, got 2 (") and "\n" not in message
    )


def test_a_window_with_too_few_images_is_refused_with_the_class_and_the_numbers():
    with pytest.raises(
        ConfigError, match=r"^window: must keep at least 11 training images of class 0 \(class 0\), got 10 \("
    ):
        windowed((0.25, 0.75), 11)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_set_on_the_gpu_starts_from_the_same_images(device):
    rank = rank_fraction(torch.arange(40.0), torch.tensor(LABELS))
    weights = (rank < 0.5).float()
    expected = choose_sources(numbered_set(LABELS), weights, rank, 3, NOBODY, 0)
    found = choose_sources(numbered_set(LABELS).to("cuda"), weights.to(device), rank, 3, NOBODY, 0)
    assert torch.equal(found.cpu(), expected)
