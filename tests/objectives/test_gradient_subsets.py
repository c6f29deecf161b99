"""Gradient matching of prefixes too, as in MDC: by hand, by either way, and interrupted."""

from dataclasses import replace

import pytest
import torch

from dasm.errors import ConfigError
from dasm.formation import decode
from dasm.machine import ranks
from dasm.matching import Matching
from dasm.networks.convnet import ConvNet
from dasm.objective_parts import subsets
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.objective_parts.subsets import Subsets, prefix_distances
from dasm.objectives import Surroundings
from dasm.objectives.gradient import Gradient
from dasm.storage.checkpoint import Checkpoint
from dasm.train import Recipe, Trainer
from dasm.types import normalise

WAYS = pytest.mark.parametrize("classes", ["loop", "batched"])
LOOP = {"real_batch": 8, "network_images": 16, "inner_iterations": 2, "metric": "l1"}
STILL = {"real_batch": 8, "network_images": 0, "inner_iterations": 100}


def pictures(count, seed):
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def batches(blobs, stored=4, *, frozen=0, factor=1):
    pixels = [pictures(stored, c).to(blobs.mean).requires_grad_() for c in range(3)]
    older = [pictures(frozen, 50 + c).to(blobs.mean) for c in range(3)] if frozen else ()
    about = {"mean": blobs.mean, "std": blobs.std, "stream": 3}
    synthetic = SyntheticBatches(pixels=pixels, factor=factor, frozen=older, **about)
    return RealBatches(data=blobs, weights=torch.ones(len(blobs)), stream=3), synthetic


def in_force(objective, trainer, blobs, size, learnt=()):
    """A state in which a prefix is in force, and some have been."""
    state = objective.prepare(blobs, trainer, 0, Surroundings())
    state.renew(0)
    if state.subsets is not None:
        state.subsets.size, state.subsets._learnt = size, set(learnt)
    return state


def push(objective, trainer, blobs, real, synthetic, *, size=0, learnt=()):
    """Every distance of an iteration in the middle of a network's life, and what it does to the pixels."""
    state, found = in_force(objective, trainer, blobs, size, learnt), []
    for value in objective.distances(state, real, synthetic, 51, draw=9):
        parts = torch.autograd.grad(value, list(synthetic.pixels), allow_unused=True)
        pairs = zip(parts, synthetic.pixels, strict=True)
        found.append((value.detach(), torch.stack([torch.zeros_like(p) if g is None else g for g, p in pairs])))
    return found


def summed(found):
    values, gradients = zip(*found, strict=True)
    return torch.stack(values).sum(), torch.stack(gradients).sum(0)


@pytest.mark.parametrize("frozen", [0, 3])
@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_the_distance_of_every_prefix_is_that_of_the_means_of_its_images(blobs, double, factor, frozen, norm):
    """One image and one number at a time."""
    data = double(blobs)
    network = ConvNet(width=4, depth=2, norm=norm).build((1, 8, 8), 3, stream=5)
    network.train()
    real, synthetic = batches(data, frozen=frozen, factor=factor)
    theirs = real.draw(1, 8, 0)
    found = prefix_distances(network, theirs, synthetic, data, 1)
    assert network.training, "its mode is put back"
    network.eval()

    def mean(images):
        total = [0.0] * 16
        for image in images:
            for place, number in enumerate(network.features(image[None])[0].tolist()):
                total[place] += number / len(images)
        return total

    expected, target = [], mean(theirs)
    for n in (1, 2, 3):
        stored = [*(synthetic.frozen[1] if frozen else ()), *synthetic.pixels[1].detach()[:n]]
        tiles = [tile for image in stored for tile in decode(image[None], factor)]
        ours = mean(normalise(torch.stack(tiles), data.mean, data.std))
        expected.append(sum((a - b) ** 2 for a, b in zip(ours, target, strict=True)))
    assert found.tolist() == pytest.approx(expected, rel=1e-9)
    assert not found.requires_grad


def chosen(rounds, updates=1):
    """The prefix in force and the images held after the end of every round of distances."""
    state, found = Subsets(1, updates), []
    for distances in rounds:
        state.add(torch.tensor(distances))
        state.choose()
        found.append((state.size, state.held))
    return found


def test_the_prefix_in_force_is_that_whose_distance_has_changed_most():
    rounds = [[4.0, 9.0, 7.0], [4.5, 9.0, 5.0], [4.5, 9.0, 5.1], [7.0, 8.0, 5.1], [7.0, 10.0, 5.1], [7.0, 10.0, 9.0]]
    # 1 because it is the first choice; afterwards the changes are 0.5 0 2, then 0 0 0.1, 2.5 1 0, 0 2 0, 0 0 3.9.
    assert [size for size, _ in chosen(rounds)] == [1, 3, 3, 1, 2, 3]


def test_the_largest_prefix_that_has_had_its_turn_is_held_while_a_larger_one_is_in_force():
    rounds = [[0.0] * 4, [0, 0, 0, 1.0], [0, 1.0, 0, 1], [0, 1, 1.0, 1], [0, 2.0, 1, 1], [1.0, 2, 1, 1], [1, 2, 1, 2.0]]
    # Sizes 1 and 4 have had their turn when 2 is chosen; 2 again is as small as it was, and 1 holds nothing.
    assert chosen(rounds) == [(1, 0), (4, 1), (2, 1), (3, 2), (2, 1), (1, 0), (4, 3)]


def test_of_changes_that_are_equal_the_smallest_prefix_is_chosen():
    assert chosen([[1.0, 1.0, 1.0], [1.0, 2.0, 0.0]])[-1] == (2, 1)


def test_distances_are_averaged_over_the_updates_of_an_outer_iteration():
    """A change counts the same however many updates it is spread over."""
    state = Subsets(1, 2)
    for distances in ([1.0, 1.0], [3.0, 3.0]):
        state.add(torch.tensor(distances))
    state.choose()
    assert state.tensors()["subsets.before"].tolist() == [2.0, 2.0]
    state.add(torch.tensor([5.0, 1.0]))
    state.add(torch.tensor([0.0, 5.0]))
    state.choose()
    assert state.size == 2
    state.choose()
    assert (state.size, state.held) == (2, 1), "without a look there is no choice"


@pytest.mark.parametrize(
    ("period", "outer"), [(1, [0, 1, 2, 3, 4, 5]), (2, [0, 1, 3, 5]), (3, [0, 2, 5]), (4, [0, 3]), (100, [0])]
)
def test_prefixes_are_looked_at_in_the_first_outer_iteration_and_in_the_last_of_every_period(
    blobs, trainer, monkeypatch, period, outer
):
    looked = []

    def spied(_network, _theirs, synthetic, _data, label):
        looked.append((iteration, label))
        return torch.zeros(len(synthetic.pixels[0]) - 1)

    monkeypatch.setattr(subsets, "prefix_distances", spied)
    objective = Gradient(**LOOP, subset_period=period)
    state = objective.prepare(blobs, trainer, 0, Surroundings())
    real, synthetic = batches(blobs)
    sizes = []
    for iteration in range(12):
        list(objective.distances(state, real, synthetic, iteration, draw=1))
        sizes.append(state.subsets.size)
    assert looked == [(2 * number + update, label) for number in outer for update in range(2) for label in range(3)]
    assert sizes == [0, 0, *[1] * 10], "from the outer iteration after it"


@WAYS
@pytest.mark.parametrize("frozen", [0, 2])
@pytest.mark.parametrize("factor", [1, 2])
def test_a_prefix_in_force_is_matched_as_a_set_of_its_own_beside_the_whole(
    blobs, trainer, double, classes, factor, frozen
):
    """Both sums apart: all images with the penalty, and the first two of every class alone without it."""
    about = {**STILL, "classes": classes, "metric": "l1"}
    real, synthetic = batches(data := double(blobs), frozen=frozen, factor=factor)
    found = push(Gradient(**about, subset_period=100, norm_penalty=0.3), trainer, data, real, synthetic, size=2)
    value, moved = summed(found)
    whole, by_whole = summed(push(Gradient(**about, norm_penalty=0.3), trainer, data, real, synthetic))
    short = replace(synthetic, pixels=[pixels.detach()[:2].requires_grad_() for pixels in synthetic.pixels])
    part, by_part = summed(push(Gradient(**about), trainer, data, real, short))
    torch.testing.assert_close(value, whole + part, rtol=1e-9, atol=0)
    by_whole[:, :2] += by_part
    torch.testing.assert_close(moved, by_whole, rtol=1e-9, atol=1e-9 * float(moved.abs().max()))
    assert len(found) == (6 if classes == "loop" else 2)


@pytest.mark.parametrize("metric", ["mse", "l1", "cosine"])
@pytest.mark.parametrize("learnt", [(), (1, 2)])
def test_both_ways_agree_while_a_prefix_is_in_force(blobs, trainer, double, metric, learnt):
    options = {**STILL, "metric": metric, "subset_period": 100, "synthetic_batch": 6}
    real, synthetic = batches(data := double(blobs), factor=2)
    (value, moved), (expected, slow) = (
        summed(push(Gradient(**options, classes=way), trainer, data, real, synthetic, size=3, learnt=learnt))
        for way in ("batched", "loop")
    )
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(moved, slow, rtol=1e-9, atol=1e-9 * float(slow.abs().max()))


@WAYS
def test_images_that_are_held_get_no_gradient_and_are_seen_all_the_same(blobs, trainer, classes):
    objective = Gradient(**STILL, subset_period=100, classes=classes)
    real, synthetic = batches(blobs)
    free, held = (push(objective, trainer, blobs, real, synthetic, size=3, learnt=learnt) for learnt in ((), (2, 3)))
    for (value, moved), (as_free, moved_free) in zip(held, free, strict=True):
        assert torch.equal(value, as_free)
        assert (moved[:, :2] == 0).all() and torch.equal(moved[:, 2:], moved_free[:, 2:])
    assert (summed(free)[1].flatten(2).abs().sum(2) > 0).all()
    assert (summed(held)[1][:, 2:].flatten(2).abs().sum(2) > 0).all()
    _, last = summed(held[1:2] if classes == "batched" else held[1::2])
    assert (last[:, 3] == 0).all(), "the prefix ends before it"


def run(trainer, blobs, iterations=10, *, stored=4, match_prefix=False, checkpoint=None, track=iter, **options):
    objective = Gradient(**{**LOOP, "synthetic_batch": 6, **options})
    matching = Matching(objective=objective, trainer=trainer, factor=2, learning_rate=0.1, match_prefix=match_prefix)
    initial = torch.stack([pictures(stored, c) for c in range(3)])
    frozen = [pictures(2, 50 + c) for c in range(3)] if match_prefix else ()
    about = {"iterations": iterations, "planned_ipc": 10, "stream": 4, "frozen": frozen, "track": track}
    state = matching.prepare(blobs, 4)
    found = matching.optimise(initial, blobs, torch.ones(len(blobs)), state=state, checkpoint=checkpoint, **about)
    return *found, state.subsets


@WAYS
@pytest.mark.parametrize("match_prefix", [False, True])
def test_the_first_outer_iteration_is_that_without_the_option(blobs, trainer, classes, match_prefix):
    about = {"classes": classes, "match_prefix": match_prefix}
    plain, distances, none = run(trainer, blobs, 4, **about)
    pixels, history, _ = run(trainer, blobs, 4, **about, subset_period=100)
    assert none is None
    assert torch.equal(history[:2], distances[:2]) and (history[2:] > distances[2:]).all()
    assert not torch.equal(pixels, plain)
    first, _, state = run(trainer, blobs, 2, **about, subset_period=100)
    assert torch.equal(first, run(trainer, blobs, 2, **about)[0]) and state.size == 0


def test_a_segment_of_one_image_per_class_has_no_prefix(blobs, trainer):
    pixels, history, state = run(trainer, blobs, stored=1, subset_period=1)
    plain, distances, _ = run(trainer, blobs, stored=1)
    assert torch.equal(pixels, plain) and torch.equal(history, distances)
    assert (state.size, sorted(state.tensors())) == (0, ["subsets.learnt", "subsets.size"])


@pytest.mark.parametrize("sampler", ["random", "representative"])
def test_an_interrupted_run_chooses_the_same_and_ends_with_the_same_bytes(blobs, trainer, tmp_path, sampler):
    """Stopped before there was a choice, in the middle of a look, and where the next choice is made."""
    options = {"subset_period": 2, "sampler": sampler}
    whole, history, state = run(trainer, blobs, 14, **options)
    assert state.size and state._learnt
    for stop in (1, 2, 3, 7, 8, 13):
        path = tmp_path / f"{stop}.safetensors"

        def stopping(work, stop=stop):
            for item in work:
                if item == stop:
                    raise KeyboardInterrupt
                yield item

        with pytest.raises(KeyboardInterrupt):
            run(trainer, blobs, 14, **options, checkpoint=Checkpoint(path, every_seconds=0.0), track=stopping)
        resumed, again, restored = run(trainer, blobs, 14, **options, checkpoint=Checkpoint(path, every_seconds=0.0))
        assert torch.equal(resumed, whole) and torch.equal(again, history)
        assert (restored.size, restored.held, restored._learnt) == (state.size, state.held, state._learnt)


def test_what_is_remembered_can_be_put_back():
    state, other, device = Subsets(3, 2), Subsets(3, 2), torch.device("cpu")
    for step in range(4):
        other.restore({"else": torch.zeros(1)} | state.tensors(), device)
        assert other.tensors().keys() == state.tensors().keys()
        assert all(torch.equal(other.tensors()[name], tensor) for name, tensor in state.tensors().items())
        assert all(isinstance(tensor, torch.Tensor) for tensor in state.tensors().values())
        state.add(torch.tensor([1.0, 1.0 + step * step]))
        if step % 2:
            state.choose()


def test_short_prefixes_come_closer_to_the_real_images(blobs):
    """After as many updates, the first image alone and the first two agree better with the real ones."""
    trainer = Trainer(network=ConvNet(width=4, depth=2), recipe=Recipe(batch_size=16, learning_rate=0.05))
    judge, apart = Gradient(real_batch=16, network_images=0, augmentation=()), {}
    for period in (None, 1):
        options = {"subset_period": period, "inner_iterations": 5, "synthetic_batch": 128, "metric": "mse"}
        pixels, _, _ = run(trainer, blobs, 60, **options)
        real, synthetic = batches(blobs, factor=2)
        for n in (1, 2):
            prefix = replace(synthetic, pixels=[images[:n].clone().requires_grad_() for images in pixels])
            apart[n, period] = float(summed(push(judge, trainer, blobs, real, prefix))[0])
    assert apart[1, 1] < 0.95 * apart[1, None] and apart[2, 1] < 0.95 * apart[2, None]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"subset_period": 0}, "subset_period must be >= 1, got 0"),
        ({"subset_period": -3}, "subset_period must be >= 1, got -3"),
        ({"subset_period": 2, "frozen_batch": 8}, "subset_period must be None with a frozen_batch, got 2"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options, said):
    with pytest.raises(ConfigError) as caught:
        Gradient(**options)
    assert str(caught.value) == said


def test_several_processes_cannot_choose(trainer, blobs, monkeypatch):
    assert Gradient().splits and not Gradient(subset_period=1).splits
    monkeypatch.setattr(ranks, "count", lambda: 2)
    with pytest.raises(ConfigError, match=r"^objective: gradient as set here cannot be split, got 2 processes"):
        Matching(objective=Gradient(subset_period=1), trainer=trainer).prepare(blobs, 0)
