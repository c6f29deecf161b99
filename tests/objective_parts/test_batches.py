from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_info, threadpool_limits
from torch import nn

from dasm.coresets.k_means import _middles
from dasm.errors import ConfigError
from dasm.networks import Classifier
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.objective_parts.sampler import Sampler
from tests.handmade import numbered_set, numbers, plain_set

LABELS = [0, 1] * 12


def real(weights, labels=LABELS, stream=0):
    return RealBatches(data=numbered_set(labels), weights=torch.tensor(weights), stream=stream)


def drawn(batches, label, size, iteration):
    return numbers(batches.draw(label, size, iteration))


@given(st.integers(1, 12), st.integers(1, 14), st.integers(0, 50))
def test_a_hard_window_is_run_through_without_replacement_epoch_after_epoch(window, size, stream):
    members = list(range(0, 2 * window, 2))
    batches = real([1.0 if i < 2 * window else 0.0 for i in range(24)], stream=stream)
    taken = min(size, window)
    per_epoch = window // taken
    for epoch in range(3):
        seen = [drawn(batches, 0, size, epoch * per_epoch + i) for i in range(per_epoch)]
        assert [len(batch) for batch in seen] == [taken] * per_epoch
        flat = sum(seen, [])  # noqa: RUF017
        assert len(set(flat)) == len(flat) and set(flat) <= set(members)


def test_the_last_partial_batch_is_dropped_and_every_epoch_is_shuffled_anew():
    batches = real([1.0] * 24)
    # 12 images of class 1 in batches of 5: two per epoch, two images left out, others every time.
    epochs = [drawn(batches, 1, 5, 2 * e) + drawn(batches, 1, 5, 2 * e + 1) for e in range(30)]
    assert all(len(set(epoch)) == 10 for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 30
    assert {i for epoch in epochs for i in epoch} == set(range(1, 24, 2))


def test_real_batches_are_normalised_images_of_their_class():
    data = numbered_set(LABELS)
    data = type(data)(
        images=data.images,
        labels=data.labels,
        class_names=data.class_names,
        mean=torch.tensor([0.5]),
        std=torch.tensor([0.25]),
    )
    batches = RealBatches(data=data, weights=torch.ones(24), stream=0)
    assert set(numbers(batches.draw(1, 12, 0) * 0.25 + 0.5)) == set(range(1, 24, 2))


@given(st.integers(0, 200), st.integers(0, 50))
def test_a_soft_window_draws_without_replacement_inside_a_batch_and_never_a_weight_of_0(iteration, stream):
    weights = [0.0, 1.0, 0.5, 2.0, 0.0, 1.0] * 4
    batch = drawn(real(weights, stream=stream), 0, 3, iteration)
    assert len(set(batch)) == 3
    assert all(weights[i] > 0 and LABELS[i] == 0 for i in batch)


def test_a_soft_window_draws_in_proportion_to_the_weights():
    batches = real([1.0, 1.0, 3.0, 1.0, 0.0, 1.0], labels=[0, 1] * 3)
    counts = Counter(drawn(batches, 0, 1, iteration)[0] for iteration in range(1200))
    assert set(counts) == {0, 2}
    assert counts[2] / 1200 == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_soft_window_draws_each_image_as_often_as_its_weight_says_whatever_the_size_of_the_batch(size):
    """Weights 1, 3, 0, 1, 3: image 1 is expected 3/8 of a batch, which is once and a half for four."""
    weights = [1.0, 3.0, 0.0, 1.0, 3.0]
    batches = real(weights, labels=[0] * 5)
    drawn_ = [drawn(batches, 0, size, iteration) for iteration in range(1500)]
    counts = Counter(image for batch in drawn_ for image in batch)
    for image, weight in enumerate(weights):
        assert counts[image] / 1500 == pytest.approx(size * weight / 8, abs=0.06)
        times = {batch.count(image) for batch in drawn_}
        assert times <= {int(size * weight / 8), int(size * weight / 8) + 1}, "as near to it as can be"
    assert all(len(batch) == size for batch in drawn_)


def test_equal_weights_of_any_size_are_a_hard_window():
    hard, scaled = real([1.0, 0.0] * 12, labels=[0] * 12 + [1] * 12), real([0.3, 0.0] * 12, labels=[0] * 12 + [1] * 12)
    assert [drawn(hard, 1, 2, i) for i in range(6)] == [drawn(scaled, 1, 2, i) for i in range(6)]


@pytest.mark.parametrize("weights", [[1.0] * 24, [1.0, 1.0, 2.0, 2.0] * 6])
def test_a_draw_depends_on_stream_class_and_iteration_alone(weights):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    forward = [drawn(real(weights), 0, 4, i) for i in range(6)]
    assert torch.equal(torch.get_rng_state(), state)
    batches = real(weights)
    assert [drawn(batches, 0, 4, i) for i in reversed(range(6))] == forward[::-1]
    assert [drawn(real(weights, stream=1), 0, 4, i) for i in range(6)] != forward
    assert [[n - 1 for n in drawn(batches, 1, 4, i)] for i in range(6)] != forward


def test_a_window_that_leaves_a_class_empty_is_refused():
    with pytest.raises(ConfigError, match=r"^window: must keep images of every class, got none of class 1$"):
        real([1.0, 0.0] * 12)


def synthetic(per_class, factor, stream=0):
    """Image i of class c has level 50 c + i."""
    levels = [(torch.arange(per_class * 1.0) + 50 * c) / 255 for c in range(2)]
    pixels = [level[:, None, None, None].expand(-1, 1, 4, 4).clone().requires_grad_() for level in levels]
    return SyntheticBatches(pixels=pixels, factor=factor, mean=torch.zeros(1), std=torch.ones(1), stream=stream)


def test_all_synthetic_images_are_drawn_in_order_when_they_are_few():
    assert numbers(synthetic(3, 1).draw(1, 3, 0)) == [50, 51, 52]
    assert numbers(synthetic(2, 2).draw(0, 8, 5)) == [0, 1] * 4


@given(st.integers(1, 11), st.integers(0, 50))
def test_the_limit_is_drawn_without_replacement(limit, iteration):
    batch = numbers(synthetic(3, 2).draw(0, limit, iteration))
    assert len(batch) == limit
    # Three stored images of one level each, four tiles of each.
    assert max(Counter(batch).values()) <= 4 and set(batch) <= {0, 1, 2}


def test_every_synthetic_image_is_drawn_equally_often():
    batches = synthetic(6, 1)
    counts = Counter(n for i in range(600) for n in numbers(batches.draw(0, 2, i)))
    assert [counts[n] / 1200 for n in range(6)] == pytest.approx([1 / 6] * 6, abs=0.04)


def test_synthetic_draws_depend_on_stream_class_and_iteration_alone():
    forward = [numbers(synthetic(20, 1).draw(0, 5, i)) for i in range(4)]
    batches = synthetic(20, 1)
    assert [numbers(batches.draw(0, 5, i)) for i in reversed(range(4))] == forward[::-1]
    assert len(set(map(tuple, forward))) == 4
    assert [numbers(synthetic(20, 1, stream=1).draw(0, 5, i)) for i in range(4)] != forward
    assert [[n - 50 for n in numbers(batches.draw(1, 5, i))] for i in range(4)] != forward


def test_synthetic_images_are_normalised_and_carry_the_gradient_to_their_own_class():
    batches = synthetic(2, 2)
    shifted = SyntheticBatches(
        pixels=batches.pixels, factor=2, mean=torch.tensor([0.5]), std=torch.tensor([0.25]), stream=0
    )
    images = shifted.draw(1, 100, 0)
    assert numbers((images * 0.25 + 0.5).detach()) == [50, 51] * 4
    images.sum().backward()
    assert batches.pixels[0].grad is None
    torch.testing.assert_close(batches.pixels[1].grad, torch.full((2, 1, 4, 4), 16.0))


def test_frozen_images_are_drawn_beside_the_new_ones_and_get_no_gradient():
    new, old = synthetic(2, 2), synthetic(1, 2)
    frozen = [(pixels.detach() + 7 / 255) for pixels in old.pixels]
    both = SyntheticBatches(
        pixels=new.pixels, frozen=frozen, factor=2, mean=torch.zeros(1), std=torch.ones(1), stream=0
    )
    images = both.draw(1, 100, 0)
    assert sorted(numbers(images.detach())) == [50] * 4 + [51] * 4 + [57] * 4
    images.sum().backward()
    torch.testing.assert_close(new.pixels[1].grad, torch.full((2, 1, 4, 4), 4.0))
    assert len(both.draw(1, 5, 0)) == 5


def test_a_prefix_of_the_new_images_is_drawn_by_itself_or_after_the_frozen_ones():
    batches = synthetic(4, 2)
    assert numbers(batches.draw(1, None, 0, first=2)) == [50, 51] * 4
    older = [(pixels.detach() + 7 / 255) for pixels in synthetic(1, 2).pixels]
    union = replace(batches, frozen=older)
    assert numbers(union.draw(1, 100, 0, first=2)) == [57, 50, 51] * 4
    assert numbers(union.draw(1, 100, 0, "new", first=2)) == [50, 51] * 4


def test_a_prefix_has_draws_of_its_own_and_leaves_the_others_as_they_are():
    """Asked for in between, of one size and another, from the same batches."""
    alone = [numbers(synthetic(20, 1).draw(0, 5, i)) for i in range(4)]
    batches, found = synthetic(20, 1), []
    for i in range(4):
        short, long = (numbers(batches.draw(0, 5, i, first=n)) for n in (8, 20))
        assert len(set(short)) == 5 and max(short) < 8
        assert numbers(batches.draw(0, 5, i)) == alone[i] != long
        assert numbers(synthetic(20, 1).draw(0, 5, i, first=8)) == short
        found.append(tuple(short))
    assert len(set(found)) == 4


@pytest.mark.parametrize("first", [None, 3])
def test_images_that_are_held_are_drawn_without_a_gradient(first):
    batches = synthetic(4, 2)
    images = batches.draw(1, 100, 0, first=first, held=2)
    assert numbers(images.detach()) == [50, 51, 52, 53][:first] * 4
    images.sum().backward()
    moved = batches.pixels[1].grad.flatten(1).sum(1)
    assert moved.tolist() == [0, 0, 64, 0 if first else 64]


def test_all_of_a_class_is_drawn_where_there_is_no_limit():
    assert numbers(synthetic(3, 2).draw(1, None, 0)) == [50, 51, 52] * 4


def test_the_whole_set_is_the_prefix_and_the_segment_as_it_stands():
    batches, data = synthetic(2, 2), numbered_set([0, 1])
    prefix = plain_set(torch.full((2, 1, 4, 4), 7 / 255), [1, 0])
    whole = batches.whole(data, prefix)
    assert numbers(whole.pixels()) == [7, 7, *[0, 1] * 4, *[50, 51] * 4]
    assert whole.labels.tolist() == [1, 0] + [0] * 8 + [1] * 8
    assert (whole.class_names, whole.mean.tolist()) == (data.class_names, [0.0])
    assert not whole.images.requires_grad
    with torch.no_grad():
        batches.pixels[0].add_(3 / 255)
    assert numbers(batches.whole(data).pixels())[:2] == [3, 4], "as it stands, and without a prefix"
    assert batches.whole(replace(data, targets=torch.eye(2))).targets is None, "those are of the real images"
    assert numbers(whole.pixels())[2:4] == [0, 1], "a copy"


# Two tight groups of a class, and one image far from both: levels of a numbered set are what the network sees.
GROUPS = {"low": [10, 11, 12, 13, 14], "high": [100, 101, 102], "lone": [250]}
MEMBERS = sum(GROUPS.values(), [])  # noqa: RUF017
LOOKING = Classifier(nn.Flatten(), nn.Linear(4, 2))


def grouped(weights=None):
    """Class 0 holds the groups and class 1 all other images."""
    labels = [int(i not in MEMBERS) for i in range(256)]
    return RealBatches(data=numbered_set(labels), weights=torch.ones(256) if weights is None else weights, stream=0)


@pytest.mark.parametrize("stream", range(5))
def test_representatives_are_the_images_nearest_to_the_centres_of_clusters(stream):
    assert sorted(grouped().representatives(0, 3, LOOKING, stream).tolist()) == [12, 101, 250]


def test_a_window_holds_the_representatives_of_itself():
    weights = torch.ones(256)
    weights[[12, 101, 250]] = 0
    found = grouped(weights).representatives(0, 2, LOOKING, 0).tolist()
    assert sorted(found) in ([11, 100], [11, 102], [13, 100], [13, 102])


def test_soft_weights_move_the_centres():
    weights = torch.ones(256)
    weights[14], weights[100] = 100, 100
    assert sorted(grouped(weights).representatives(0, 3, LOOKING, 0).tolist()) == [14, 100, 250]


def test_a_window_no_larger_than_the_batch_is_returned_whole():
    assert grouped().representatives(0, 9, LOOKING, 0).tolist() == MEMBERS


def test_a_network_that_has_diverged_has_no_representatives():
    data = grouped().data
    lost = RealBatches(data=replace(data, mean=torch.full((1,), torch.nan)), weights=torch.ones(len(data)), stream=0)
    with pytest.raises(ConfigError, match=r"^features of real images must be finite, got \d+ of \d+ that are not"):
        lost.representatives(0, 3, LOOKING, 0)


def test_clusters_are_found_by_one_thread(monkeypatch):
    """Of several, each adds what it found to a sum, in the order in which they end: another one every time."""
    threads, fit = [], KMeans.fit_predict

    def spy(self, *arguments, **options):
        threads.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp")
        return fit(self, *arguments, **options)

    monkeypatch.setattr(KMeans, "fit_predict", spy)
    with threadpool_limits(4):
        grouped().representatives(0, 3, LOOKING, 0)
        _middles(torch.rand(20, 2, generator=torch.Generator().manual_seed(0)).double(), 3, 1, stream=0)
    assert len(threads) >= 2 and {*threads} == {1}


def test_representatives_depend_on_the_arguments_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    batches = grouped()
    first = batches.representatives(1, 7, LOOKING, 3)
    assert len(set(first.tolist())) == 7 and not set(first.tolist()) & set(MEMBERS)
    assert torch.equal(first, grouped().representatives(1, 7, LOOKING, 3))
    assert torch.equal(torch.get_rng_state(), state)
    assert len({tuple(batches.representatives(1, 7, LOOKING, stream).tolist()) for stream in range(5)}) > 1


def upside_down():
    """A network that sees the low group spread out and everything else as one."""
    body = nn.Sequential(nn.Flatten(), nn.Linear(4, 1), nn.Threshold(-15 / 255, -15 / 255))
    with torch.no_grad():
        body[1].weight.fill_(-0.25)
        body[1].bias.zero_()
    return Classifier(body, nn.Linear(1, 2))


def taken(sampler, updates, network=LOOKING):
    return sorted(numbers(sampler.draw(grouped(), 0, 3, 5, network=network, updates=updates)))


def test_representatives_are_kept_between_refreshments_and_follow_the_network():
    sampler = Sampler("representative", 4, stream=0)
    assert taken(sampler, 0) == [12, 101, 250]
    for updates in (1, 2, 3):
        assert taken(sampler, updates, upside_down()) == [12, 101, 250]
    later = taken(sampler, 4, upside_down())
    assert later != [12, 101, 250] and len(set(later) & set(GROUPS["low"])) == 2
    assert taken(sampler, 5) == later


def test_what_a_sampler_remembers_can_be_put_back():
    sampler, other = Sampler("representative", 4, stream=0), Sampler("representative", 4, stream=0)
    taken(sampler, 0, upside_down())
    other.restore({"else": torch.zeros(1)} | sampler.tensors(), torch.device("cpu"))
    assert taken(other, 1) == taken(sampler, 1)


def test_a_random_sampler_is_the_window_as_it_is_drawn():
    batches, sampler = grouped(), Sampler("random", 1, stream=0)
    for iteration in range(3):
        expected = batches.draw(0, 3, iteration)
        assert torch.equal(sampler.draw(batches, 0, 3, iteration, network=LOOKING, updates=0), expected)
    assert sampler.tensors() == {}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("window", [[1.0] * 24, [1.0, 1.0, 0.0, 0.0] * 6, [1.0, 1.0, 2.0, 2.0] * 6])
def test_a_set_on_the_gpu_is_drawn_in_the_same_batches(device, window):
    weights, data = torch.tensor(window), numbered_set(LABELS)
    on_gpu = RealBatches(data=data.to("cuda"), weights=weights.to(device), stream=0)
    for iteration in range(3):
        assert numbers(on_gpu.draw(1, 4, iteration).cpu()) == drawn(real(window), 1, 4, iteration)
