import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from dasm import rng
from dasm.errors import ConfigError
from dasm.evaluate import accuracy
from dasm.networks.convnet import ConvNet
from dasm.networks.mlp import MLP
from dasm.train import Learner, Recipe, Trainer, _cutmix, epoch_batch
from dasm.types import LabelledImages
from tests.conftest import make_blobs
from tests.handmade import equal_states, with_batch_norm

PLAIN = Recipe(batch_size=7, learning_rate=0.05, augmentation=(), cutmix=0.0)


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 5), st.integers(0, 100))
def test_every_epoch_shows_every_image_once(count, batch_size, epoch, stream):
    per_epoch = -(-count // batch_size)
    batches = [epoch_batch(count, batch_size, epoch * per_epoch + i, stream).tolist() for i in range(per_epoch)]
    assert sorted(index for batch in batches for index in batch) == list(range(count))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (per_epoch - 1)
    assert len(batches[-1]) == count - batch_size * (per_epoch - 1)


def test_epochs_and_streams_have_orders_of_their_own():
    orders = [tuple(epoch_batch(30, 30, epoch, stream).tolist()) for epoch in range(5) for stream in range(3)]
    assert len(set(orders)) == 15
    assert tuple(range(30)) not in orders


def test_the_rate_is_cut_to_a_fifth_at_two_thirds_and_five_sixths():
    recipe = Recipe(learning_rate=1.0)
    assert [recipe.rate(step, 12) for step in (0, 7, 8, 9, 10, 11)] == pytest.approx([1, 1, 0.2, 0.2, 0.04, 0.04])


@given(st.integers(1, 100))
def test_the_rate_is_cut_at_the_very_step(sixths):
    rates = [Recipe(learning_rate=1.0).rate(step, 6 * sixths) for step in range(6 * sixths)]
    expected = [1.0] * (4 * sixths) + [0.2] * sixths + [0.04] * sixths
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("momentum", 1.0),
        ("momentum", -0.1),
        ("weight_decay", -1e-4),
        ("decay", 0.0),
        ("decay", 1.5),
        ("decay_at", (0.5, 1.5)),
        ("cutmix", 1.1),
        ("cutmix", -0.1),
    ],
)
def test_a_recipe_out_of_range_is_refused(option, value):
    with pytest.raises(ConfigError, match=rf"^{option} must .*, got "):
        Recipe(**{option: value})


@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.9, 5e-4), (0.0, 0.1), (0.5, 0.0)])
def test_steps_are_those_of_torchs_sgd(blobs, momentum, weight_decay):
    recipe = Recipe(
        batch_size=7, learning_rate=0.05, momentum=momentum, weight_decay=weight_decay, augmentation=(), cutmix=0.0
    )
    network = ConvNet(width=4, depth=2)
    learner = Learner(network.build(blobs.image_shape, 3, 1), recipe)
    reference = network.build(blobs.image_shape, 3, 1)
    optimiser = torch.optim.SGD(reference.parameters(), lr=1.0, momentum=momentum, weight_decay=weight_decay)
    for step in range(20):
        learner.step(blobs, step, 5, recipe.rate(step, 20))
        indices = epoch_batch(len(blobs), 7, step, 5)
        optimiser.param_groups[0]["lr"] = recipe.rate(step, 20)
        optimiser.zero_grad()
        F.cross_entropy(reference(blobs.inputs(indices)), blobs.labels[indices]).backward()
        optimiser.step()
    for mine, theirs in zip(learner.network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)


def test_a_whole_set_smaller_than_a_batch_is_taken_at_every_step(blobs):
    recipe = Recipe(batch_size=64, augmentation=(), cutmix=0.0, momentum=0.0, weight_decay=0.0)
    few = blobs.subset(torch.tensor([0, 20, 40]))
    a, b = (Learner(MLP(width=4, depth=1).build(blobs.image_shape, 3, 0), recipe) for _ in range(2))
    for step in range(3):
        a.step(few, step, 0, 0.1)
        b.step(few.subset(torch.tensor([2, 0, 1])), step, 9, 0.1)
    for first, second in zip(a.network.parameters(), b.network.parameters(), strict=True):
        torch.testing.assert_close(first, second)


@pytest.mark.parametrize("stop", [0, 1, 4, 9])
def test_a_learner_put_back_at_any_step_goes_on_as_if_nothing_had_happened(blobs, trainer, stop):
    whole, half = trainer.start(blobs, 3), trainer.start(blobs, 3)
    for step in range(10):
        whole.step(blobs, step, 3, 0.05)
    for step in range(stop):
        half.step(blobs, step, 3, 0.05)
    saved = {name: tensor.clone() for name, tensor in half.tensors().items()}
    other = trainer.start(blobs, 77)
    other.step(blobs, 0, 77, 0.5)
    other.restore(saved)
    for step in range(stop, 10):
        other.step(blobs, step, 3, 0.05)
    assert equal_states(whole.network, other.network)


def test_what_is_put_back_includes_the_statistics_of_batch_norm(blobs):
    first, second = (Learner(with_batch_norm(), PLAIN) for _ in range(2))
    first.step(blobs, 0, 0, 0.05)
    second.restore({name: tensor.clone() for name, tensor in first.tensors().items()})
    assert equal_states(first.network, second.network)
    assert first.network.body[1].num_batches_tracked == 1


def test_a_network_learns_in_training_mode(blobs):
    network = with_batch_norm().eval()
    Learner(network, PLAIN).step(blobs, 0, 0, 0.05)
    assert network.training
    assert not torch.equal(network.body[1].running_mean, torch.zeros(4))


def test_training_depends_on_its_stream_alone(blobs, trainer):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    (first,) = trainer.train(blobs, 5, stream=8)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    trainer.train(blobs, 3, stream=4)
    (again,) = trainer.train(blobs, 5, stream=8)
    (other,) = trainer.train(blobs, 5, stream=9)
    assert equal_states(first, again)
    assert not equal_states(first, other)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_snapshots_end_with_the_trained_network(blobs, trainer, count):
    kept = trainer.train(blobs, 6, stream=8, snapshots=count)
    assert len(kept) == count
    assert equal_states(kept[-1], trainer.train(blobs, 6, stream=8)[0])
    assert not any(network.training for network in kept)


def test_snapshots_are_spread_evenly_over_the_run(blobs, trainer):
    kept = trainer.train(blobs, 6, stream=8, snapshots=3)
    learner = trainer.start(blobs, 8)
    for step in range(6):
        learner.step(blobs, step, 8, trainer.recipe.rate(step, 6))
        if step % 2:
            assert equal_states(kept[step // 2], learner.network)


def test_a_run_starts_from_weights_of_its_own_stream(blobs, trainer):
    (still,) = Trainer(network=trainer.network, recipe=Recipe(learning_rate=1e-30)).train(blobs, 1, stream=8)
    expected = trainer.network.build(blobs.image_shape, 3, rng.derive(8, "initialisation"))
    for mine, theirs in zip(still.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def count_images(n, height, width):
    """Image i has level i everywhere."""
    return torch.arange(float(n))[:, None, None, None].expand(-1, 2, height, width), torch.arange(n)


@given(st.integers(2, 6), st.integers(2, 12), st.integers(2, 12), st.integers(0, 500))
def test_cutmix_weighs_the_own_class_by_the_share_of_pixels_left(n, height, width, seed):
    images, labels = count_images(n, height, width)
    mixed, partners, share = _cutmix(images, labels, 1.0, torch.Generator().manual_seed(seed))
    for i in range(n):
        assert set(mixed[i].flatten().tolist()) <= {float(i), float(partners[i])}
        if partners[i] != i:
            assert (mixed[i] == i).double().mean().item() == pytest.approx(share)
    assert sorted(partners.tolist()) == list(range(n))


def test_cutmix_boxes_cover_little_and_much():
    images, labels = count_images(2, 16, 16)
    shares = torch.tensor([_cutmix(images, labels, 1.0, torch.Generator().manual_seed(s))[2] for s in range(400)])
    # Uniform without clipping; clipping leaves more of the image.
    assert shares.min() < 0.15 and shares.max() > 0.97
    assert 0.5 < shares.mean() < 0.75


def test_cutmix_comes_as_often_as_its_probability():
    images, labels = count_images(2, 8, 8)
    for probability in (0.0, 0.3, 0.5):
        drawn = [_cutmix(images, labels, probability, torch.Generator().manual_seed(s)) for s in range(400)]
        untouched = [mixed is images and partners is labels and share == 1 for mixed, partners, share in drawn]
        assert sum(untouched) / 400 == pytest.approx(1 - probability, abs=0.07)


def test_cutmix_never_writes_into_the_images_it_was_given():
    images, labels = count_images(3, 8, 8)
    kept = images.clone()
    _cutmix(images.contiguous(), labels, 1.0, torch.Generator().manual_seed(0))
    assert torch.equal(images, kept)


def test_augmentation_and_cutmix_change_what_is_learnt(blobs, trainer):
    def trained(**options):
        return Trainer(network=trainer.network, recipe=Recipe(batch_size=16, **options)).train(blobs, 3, stream=1)[0]

    bare = trained(augmentation=(), cutmix=0.0)
    assert not equal_states(bare, trained(augmentation=("color",), cutmix=0.0))
    assert not equal_states(bare, trained(augmentation=(), cutmix=1.0))


def test_real_classes_are_learnt(task, trainer):
    (network,) = trainer.train(task.train, 60, stream=0)
    assert accuracy(network, task.test) > 0.95


def test_random_labels_give_chance_accuracy_on_held_out_images(trainer):
    def shuffled(seed) -> LabelledImages:
        data = make_blobs(100, seed)
        order = torch.randperm(300, generator=torch.Generator().manual_seed(seed))
        return LabelledImages(
            images=data.images,
            labels=data.labels[order],
            class_names=data.class_names,
            mean=data.mean,
            std=data.std,
        )

    (network,) = trainer.train(shuffled(0), 60, stream=0)
    assert accuracy(network, shuffled(1)) == pytest.approx(1 / 3, abs=0.1)
