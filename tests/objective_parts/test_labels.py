"""Labels that are learnt: what they start from, by hand-made experts, and how they move."""

import pytest
import torch

from dasm.errors import ConfigError
from dasm.formation import decode, decode_set
from dasm.objective_parts.batches import SyntheticBatches
from dasm.objective_parts.labels import Learnt, LearntLabels
from dasm.types import LabelledImages
from tests.handmade import answering, one_hot_set, with_batch_norm

# What three experts say of four images of two classes of three.
LABELS = [0, 0, 1, 1]
SAID = torch.tensor(
    [
        [[4.0, 1, 0], [2, 5, 0], [1, 3, 0], [9, 2, 5]],
        [[2.0, 0, 1], [3, 1, 2], [0, 1, 4], [4, 1, 6]],
        [[0.0, 7, 1], [6, 0, 1], [0, 5, 1], [8, 0, 1]],
    ]
)
# Image 0: experts 0 and 1 are right; image 1: 1 and 2; image 2: 0 and 2; image 3: none, so the mean of all, (7, 1, 4),
# in which its class 1 and the leading class 0 change places.
STARTS = torch.tensor([[3, 0.5, 0.5], [4.5, 0.5, 1.5], [0.5, 4, 0.5], [1, 7, 4]])


def expert(said, rows=2):
    """Weights after the last epoch that give image i of a one-hot set the i-th row; before, they are no numbers."""
    weights = torch.full((rows, said.numel()), float("nan"))
    weights[-1] = said.T.flatten()
    return weights


def labels(said=SAID, **more):
    network = answering(torch.zeros_like(said[0]))
    usual = {"rate": 1.0, "momentum": 0.0, "batch": None, "prefix": None, "stream": 0}
    return LearntLabels(network, [expert(one) for one in said], **{**usual, **more})


def one_hot(classes=3, of=LABELS):
    """The images of which `SAID` speaks: one row of pixels, black but for one."""
    return one_hot_set(of, classes)


def batches(data=None, frozen=(), **more):
    data = one_hot() if data is None else data
    # The third class has no image: students may be told that something looks like it all the same.
    pixels = [data.images[data.members(label)].clone().requires_grad_() for label in (0, 1)]
    usual = {"factor": 1, "mean": data.mean, "std": data.std, "stream": 0}
    return SyntheticBatches(pixels=pixels, frozen=frozen, **{**usual, **more})


@pytest.mark.parametrize("batch", [None, 3, 1])
def test_labels_start_from_the_mean_of_the_experts_that_are_right(batch):
    images, found = labels(batch=batch).shown(batches(), 0)
    torch.testing.assert_close(found, STARTS.softmax(1))
    assert torch.equal(images, one_hot().images), "class by class"
    assert found.argmax(1).tolist() == LABELS


def test_labels_are_asked_for_once():
    learnt = labels()
    _, first = learnt.shown(batches(), 0)
    moved = batches()
    for images in moved.pixels:
        images.data.copy_(images.data.flip(0))
    _, again = learnt.shown(moved, 1)
    assert torch.equal(first, again)


def test_images_that_never_were_shown_are_asked_about_at_the_end():
    """A segment of no iterations; its images in any order."""
    shuffled = one_hot().subset(torch.tensor([2, 0, 3, 1]))
    torch.testing.assert_close(labels().of(shuffled), STARTS[[2, 0, 3, 1]].softmax(1))


@pytest.mark.parametrize("stored", [1, 3])
def test_the_label_of_a_tile_lands_at_its_tile(stored):
    """The order of `decode_set` is tile by tile of all images; students are shown class by class."""
    generator = torch.Generator().manual_seed(0)
    data = LabelledImages(
        images=torch.rand(3 * stored, 1, 2, 8, generator=generator),
        labels=torch.arange(3).repeat_interleave(stored),
        class_names=("a", "b", "c"),
        mean=torch.zeros(1),
        std=torch.ones(1),
    )
    pixels = [data.images[data.members(label)] for label in range(3)]
    synthetic = SyntheticBatches(pixels=pixels, factor=2, mean=data.mean, std=data.std, stream=0)
    said = torch.randn(1, 16, 3, generator=generator)
    learnt = labels(said)
    images, shown = learnt.shown(synthetic, 0)
    decoded = decode_set(data, 2)
    found = learnt.of(decoded)
    assert len(found) == 12 * stored and len(found.unique(dim=0)) == len(found)
    for number, image in enumerate(decoded.images):
        (place,) = torch.nonzero((images == image).flatten(1).all(1)).flatten().tolist()
        assert torch.equal(found[number], shown[place])
        raw = image.flatten() @ said[0]
        assert found[number].argmax() == decoded.labels[number]
        if raw.argmax() == decoded.labels[number]:
            torch.testing.assert_close(found[number], raw.softmax(0))
    assert torch.equal(decode(data.images, 2), decoded.images)


def test_the_slope_goes_through_the_softmax():
    learnt = labels(rate=0.5)
    _, first = learnt.shown(batches(), 0)
    pull = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    logits = STARTS.clone().requires_grad_()
    (slope,) = torch.autograd.grad((logits.softmax(1) * pull).sum(), logits)
    learnt.learn(pull, None)
    _, found = learnt.shown(batches(), 1)
    torch.testing.assert_close(found, (STARTS - 0.5 * slope).softmax(1))
    assert not torch.equal(found, first)
    torch.testing.assert_close(learnt.of(one_hot()), found)


def test_of_a_union_only_the_slopes_of_new_images_count():
    pull = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    alone, union = labels(), labels()
    for learnt, slope in ((alone, pull), (union, torch.cat([torch.full((5, 3), 9.0), pull]))):
        learnt.shown(batches(), 0)
        learnt.learn(slope, None)
    assert torch.equal(alone.of(one_hot()), union.of(one_hot()))


def test_frozen_images_come_first_with_the_labels_that_they_were_frozen_with():
    frozen = [torch.rand(1, 1, 1, 4, generator=torch.Generator().manual_seed(c)) for c in range(2)]
    prefix = LabelledImages(
        images=torch.cat(frozen),
        labels=torch.tensor([0, 1]),
        class_names=("a", "b", "c"),
        mean=torch.tensor([0.1]),
        std=torch.tensor([0.5]),
    )
    images, hard = labels(prefix=prefix).shown(batches(frozen=frozen), 0)
    torch.testing.assert_close(images, torch.cat([(prefix.images - 0.1) / 0.5, one_hot().images]))
    torch.testing.assert_close(hard, torch.cat([torch.eye(3)[:2], STARTS.softmax(1)]))
    targets = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8]])
    soft = LabelledImages(**{**vars(prefix), "targets": targets})
    _, found = labels(prefix=soft).shown(batches(frozen=frozen), 0)
    torch.testing.assert_close(found, torch.cat([targets, STARTS.softmax(1)]))
    # Decoded for somebody else, and not matched.
    images, found = labels(prefix=soft).shown(batches(), 0)
    assert len(images) == len(found) == 4


@pytest.mark.parametrize("held", [0, 3])
def test_frozen_images_that_nobody_has_brought_are_refused(held):
    prefix = one_hot().subset(torch.arange(held)) if held else None
    rule = rf"^surroundings: prefix must hold the 8 training images of the frozen segments .*, got {held} \(.*\)$"
    with pytest.raises(ConfigError, match=rule):
        labels(prefix=prefix).shown(batches(frozen=[torch.rand(1, 1, 2, 2)] * 2, factor=2), 0)


def test_experts_with_batch_normalisation_are_asked_in_training_mode():
    """They keep no statistics; those of a batch of all images are there."""
    network = with_batch_norm().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    data = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    weights = torch.nn.utils.parameters_to_vector(network.parameters()).detach()[None]
    usual = {"rate": 1.0, "momentum": 0.0, "prefix": None, "stream": 0}
    pixels = [data[:2], data[2:4], data[4:]]
    synthetic = SyntheticBatches(pixels=pixels, factor=1, mean=torch.zeros(1), std=torch.ones(1), stream=0)
    _, found = LearntLabels(network, [weights], batch=None, **usual).shown(synthetic, 0)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items()), "left alone"
    said = network(data)
    right = said.argmax(1) == torch.arange(3).repeat_interleave(2)
    assert right.any()
    torch.testing.assert_close(found[right], said.softmax(1)[right].detach())
    _, parts = LearntLabels(network, [weights], batch=2, **usual).shown(synthetic, 0)
    assert not torch.allclose(parts, found, atol=1e-3)


def test_a_value_moves_by_sgd_with_momentum():
    value, reference = torch.tensor([1.0, -2.0]), torch.tensor([1.0, -2.0], requires_grad=True)
    learnt, sgd = Learnt(value), torch.optim.SGD([reference], lr=0.1, momentum=0.9)
    for slope in torch.randn(4, 2, generator=torch.Generator().manual_seed(0)):
        learnt.step(slope, 0.1, 0.9, None)
        reference.grad = slope
        sgd.step()
        torch.testing.assert_close(learnt.value, reference.detach())


def test_a_skipped_step_leaves_value_and_momentum():
    skipping, never = Learnt(torch.ones(2)), Learnt(torch.ones(2))
    for number in range(4):
        slope = torch.tensor([1.0, float(number)])
        skipped = number in (1, 2)
        skipping.step(slope * float("nan") if skipped else slope, 0.1, 0.9, torch.tensor(skipped))
        if not skipped:
            never.step(slope, 0.1, 0.9, None)
    assert torch.equal(skipping.value, never.value) and torch.equal(skipping.velocity, never.velocity)


def test_what_is_saved_is_all_that_the_next_step_depends_on():
    learnt, fresh = (labels(momentum=0.9) for _ in range(2))
    assert learnt.tensors() == {}
    fresh.restore(learnt.tensors())
    pulls = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1))
    learnt.shown(batches(), 0)
    learnt.learn(pulls[0], None)
    fresh.restore(learnt.tensors())
    for one in (learnt, fresh):
        one.shown(batches(), 1)
        one.learn(pulls[1], None)
    assert torch.equal(learnt.of(one_hot()), fresh.of(one_hot()))
