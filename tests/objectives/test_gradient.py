"""Gradient matching against a slow, plain restatement of IDC's equation."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dasm import rng
from dasm.augment import draw
from dasm.chains import chain
from dasm.errors import ConfigError
from dasm.matching import Matching
from dasm.networks import Classifier
from dasm.networks.convnet import ConvNet
from dasm.networks.mlp import MLP
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.objective_parts.classwise import class_gradients, distance
from dasm.objective_parts.compared import Compared
from dasm.objectives import Surroundings, gradient
from dasm.objectives.gradient import Gradient
from dasm.train import Recipe, Trainer
from dasm.types import normalise


def identity(shape):
    return draw((), 1, shape, torch.Generator().manual_seed(0))


def plain_distance(network, real, synthetic, label, metric):
    """Loop over layers and output channels, one number at a time, as the paper writes it."""
    total = torch.zeros((), dtype=torch.float64)
    losses = [F.cross_entropy(network(x), torch.full((len(x),), label)) for x in (real, synthetic)]
    convolutions = [p for name, p in network.named_parameters() if p.dim() == 4]
    grads = [torch.autograd.grad(loss, convolutions, create_graph=True) for loss in losses]
    for r, s in zip(*grads, strict=True):
        for a, b in zip(r.detach().flatten(1), s.flatten(1), strict=True):
            if metric == "mse":
                total = total + sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
            elif metric == "l1":
                total = total + sum(abs(x - y) for x, y in zip(a, b, strict=True))
            else:
                total = total + 1 - (a @ b) / (a.norm() * b.norm() + 1e-6)
    return total


@pytest.mark.parametrize("metric", ["mse", "l1", "cosine"])
def test_distance_and_pixel_gradient_equal_the_plain_equation(metric):
    generator = torch.Generator().manual_seed(1)
    network = ConvNet(width=3, depth=2).build((1, 8, 8), 4, stream=5).double()
    real = torch.randn(5, 1, 8, 8, generator=generator, dtype=torch.float64)
    fast = torch.randn(3, 1, 8, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    slow = fast.detach().clone().requires_grad_()
    shared = identity((1, 8, 8))
    target = [g.detach() for g in class_gradients(network, real, 2, shared)]
    ours = distance(class_gradients(network, fast, 2, shared, differentiable=True), target, metric)
    theirs = plain_distance(network, real, slow, 2, metric)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=0)
    (a,), (b,) = torch.autograd.grad(ours, fast), torch.autograd.grad(theirs, slow)
    torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10 * float(b.abs().max()))


def test_equal_batches_are_at_distance_zero():
    network = ConvNet(width=3, depth=2).build((1, 8, 8), 4, stream=5)
    images = torch.rand(4, 1, 8, 8)
    gradients = class_gradients(network, images, 1, identity((1, 8, 8)))
    for metric in ("mse", "l1"):
        assert distance(gradients, gradients, metric) == 0
    assert 0 <= distance(gradients, gradients, "cosine") < 1e-3, "1e-6 is added to the product of lengths"


def test_biases_norms_and_the_classifier_do_not_take_part():
    network = ConvNet(width=3, depth=2).build((1, 8, 8), 4, stream=5)
    gradients = class_gradients(network, torch.rand(4, 1, 8, 8), 1, identity((1, 8, 8)))
    assert [tuple(g.shape) for g in gradients] == [(3, 1, 3, 3), (3, 3, 3, 3)]


def test_a_network_without_convolutions_is_refused():
    network = MLP(width=4).build((1, 8, 8), 4, stream=5)
    with pytest.raises(ConfigError, match="convolution weights"):
        class_gradients(network, torch.rand(4, 1, 8, 8), 1, identity((1, 8, 8)))


def batches(blobs, stream=3):
    pixels = [torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(c)).requires_grad_() for c in range(3)]
    real = RealBatches(data=blobs, weights=torch.ones(len(blobs)), stream=stream)
    synthetic = SyntheticBatches(pixels=pixels, factor=1, mean=blobs.mean, std=blobs.std, stream=stream)
    return real, synthetic


def test_both_sides_get_one_shared_draw(blobs, trainer):
    """A synthetic batch equal to the real one stays at distance zero under augmentation."""
    objective = Gradient(metric="l1", real_batch=16, network_images=0, augmentation=("color", "crop", "cutout"))
    pixels = [blobs.pixels(blobs.members(c)).requires_grad_() for c in range(3)]
    real = RealBatches(data=blobs, weights=torch.ones(len(blobs)), stream=1)
    synthetic = SyntheticBatches(pixels=pixels, factor=1, mean=blobs.mean, std=blobs.std, stream=1)
    state = objective.prepare(blobs, trainer, 0, Surroundings())
    for value in objective.distances(state, real, synthetic, 0, draw=9):
        assert value < 1e-4  # the same images in another order: only the order of sums differs


def test_the_network_learns_from_real_images_and_is_redrawn_every_period(blobs, trainer):
    objective = Gradient(inner_iterations=2, network_images=32, real_batch=8, augmentation=())
    state = objective.prepare(blobs, trainer, 0, Surroundings())
    real, synthetic = batches(blobs)
    weights = []
    for iteration in range(4):
        for _ in objective.distances(state, real, synthetic, iteration, draw=rng.derive(7, iteration)):
            now = state.tensors()["network.head.weight"].clone()
        weights += [now, state.tensors()["network.head.weight"].clone()]
    before, after = weights[::2], weights[1::2]
    assert all(not torch.equal(b, a) for b, a in zip(before, after, strict=True)), "it learns after every update"
    assert torch.equal(before[1], after[0]), "it is kept inside a period"
    fresh = trainer.start(blobs, rng.derive(0, "network", 1)).network.head.weight
    assert torch.equal(before[2], fresh), "it is redrawn for the next"


def head(state):
    return state.tensors()["network.head.weight"].clone()


def test_networks_start_as_copies_of_one_that_learnt_the_prefix(blobs, trainer):
    """Two periods share a start, the third has another; none of it when there is no prefix."""
    prefix, starts = blobs.subset(torch.arange(9)), []
    objective = Gradient(inner_iterations=1, network_images=8, real_batch=8, prefix_steps=3, prefix_period=2)
    state = objective.prepare(blobs, trainer, 0, Surroundings(prefix=prefix))
    real, synthetic = batches(blobs)
    for iteration in range(3):
        values = objective.distances(state, real, synthetic, iteration, draw=1)
        next(values)
        starts.append(head(state))
        list(values)
        assert not torch.equal(head(state), starts[-1]), "copies learn, each for itself"
    learnt = [trainer.train(prefix, 3, rng.derive(rng.derive(0, "prefix"), number))[0] for number in range(2)]
    assert torch.equal(starts[0], learnt[0].head.weight)
    assert torch.equal(starts[1], starts[0])
    assert torch.equal(starts[2], learnt[1].head.weight)

    alone = objective.prepare(blobs, trainer, 0, Surroundings())
    next(objective.distances(alone, real, synthetic, 0, draw=1))
    assert torch.equal(head(alone), trainer.start(blobs, rng.derive(0, "network", 0)).network.head.weight)


def test_a_network_may_be_old_before_its_first_update_and_the_run_through_the_data_goes_on_all_the_same(blobs, trainer):
    """Each of two networks learns three steps of its own; those between updates are as without them."""
    objective = Gradient(inner_iterations=1, network_images=8, real_batch=8, early_steps=3)
    state = objective.prepare(blobs, trainer, 0, Surroundings())
    real, synthetic = batches(blobs)
    for iteration in range(2):
        expected = trainer.start(blobs, rng.derive(0, "network", iteration))
        expected.steps(blobs, 0, 3, rng.derive(0, "early", iteration), trainer.recipe.learning_rate)
        values = objective.distances(state, real, synthetic, iteration, draw=1)
        next(values)
        assert torch.equal(head(state), expected.network.head.weight)
        list(values)
        expected.steps(blobs, iteration, 1, rng.derive(0, "learning"), trainer.recipe.learning_rate)
        assert torch.equal(head(state), expected.network.head.weight)


def scalars(objective, trainer, blobs, draw=1, frozen=(), pixels=None):
    """The distances of one iteration and what each of them does to the pixels of every class."""
    real, synthetic = batches(blobs)
    synthetic = replace(synthetic, frozen=frozen, pixels=pixels or synthetic.pixels)
    state = objective.prepare(blobs, trainer, 0, Surroundings())
    for value in objective.distances(state, real, synthetic, 0, draw):
        yield value.detach(), torch.autograd.grad(value, list(synthetic.pixels), allow_unused=True)


def test_one_scalar_per_class_that_touches_that_class_only(blobs, trainer):
    objective = Gradient(real_batch=8, network_images=0, augmentation=(), classes="loop")
    for label, (_, grads) in enumerate(scalars(objective, trainer, blobs)):
        assert [g is not None for g in grads] == [c == label for c in range(3)]


def summed(found):
    values, gradients = zip(*found, strict=True)
    total = [sum(g for g in parts if g is not None) for parts in zip(*gradients, strict=True)]
    return len(values), torch.stack(values).sum(), torch.stack(total)


@pytest.mark.parametrize("metric", ["mse", "l1", "cosine"])
@pytest.mark.parametrize(("images", "calls"), [(1000, 1), (16, 2), (1, 3)])
def test_classes_together_equal_classes_in_turn_however_many_fit(
    blobs, trainer, double, monkeypatch, metric, images, calls
):
    monkeypatch.setitem(chain._PART_BYTES, "cpu", images * 4 * 8 * 8 * 8)
    options = {"metric": metric, "real_batch": 8, "network_images": 0}
    count, value, gradient = summed(scalars(Gradient(classes="auto", **options), trainer, double(blobs)))
    assert count == calls
    _, expected, slow = summed(scalars(Gradient(classes="loop", **options), trainer, double(blobs)))
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(gradient, slow, rtol=1e-9, atol=1e-9 * float(slow.abs().max()))


def test_classes_of_different_sizes_are_not_mixed(blobs, trainer, double):
    """A window may keep few images of one class, whose batch is then smaller."""
    uneven = double(blobs).subset(torch.tensor([*range(16), *range(16, 21), *range(32, 48)]))
    options = {"metric": "l1", "real_batch": 8, "network_images": 0}
    count, value, gradient = summed(scalars(Gradient(classes="auto", **options), trainer, uneven))
    assert count == 3
    _, expected, slow = summed(scalars(Gradient(classes="loop", **options), trainer, uneven))
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(gradient, slow, rtol=1e-9, atol=1e-9 * float(slow.abs().max()))


def test_every_class_has_an_augmentation_of_its_own(blobs, trainer):
    same = [blobs.pixels(blobs.members(0))[:2].clone().requires_grad_() for _ in range(3)]
    alike = replace(blobs, images=blobs.images[:16].repeat(3, 1, 1, 1))
    objective = Gradient(real_batch=16, network_images=0, augmentation=("crop", "cutout"), classes="loop")
    state = objective.prepare(alike, trainer, 0, Surroundings())
    real, synthetic = batches(alike)
    seen = []

    def spied(network, images, label, transform, **more):
        seen.append(transform)
        return class_gradients(network, images, label, transform, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradient, "class_gradients", spied)
        list(objective.distances(state, real, replace(synthetic, pixels=same), 0, 1))
    shifts = [tuple(t.shift.flatten().tolist() + t.hole.flatten().tolist()) for t in seen]
    assert shifts[::2] == shifts[1::2], "both sides of a class share a draw"
    assert len(set(shifts)) == 3, "and no two classes do"


def test_batched_without_written_derivatives_is_refused():
    class Odd(nn.Module):
        def forward(self, x):
            return x.flatten(1)

    objective = Gradient(classes="batched")
    with pytest.raises(ConfigError, match="batched needs"):
        objective._chain(Classifier(Odd(), nn.Linear(64, 3)))
    assert Gradient(classes="auto")._chain(Classifier(Odd(), nn.Linear(64, 3))) is None


def test_network_images_counts_whole_batches(blobs):
    trainer = Trainer(network=ConvNet(width=2, depth=1), recipe=Recipe(batch_size=16))
    seen = []
    objective = Gradient(network_images=33, real_batch=4, augmentation=())
    state = objective.prepare(blobs, trainer, 0, Surroundings())
    step = type(state.learner).step
    real, synthetic = batches(blobs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(state.learner), "step", lambda self, d, s, *a: (seen.append(s), step(self, d, s, *a))[1])
        for iteration in range(2):
            list(objective.distances(state, real, synthetic, iteration, draw=1))
    assert seen == [0, 1, 2, 3, 4, 5], "three batches of 16 hold 33 images, and the run through the data goes on"


@pytest.mark.parametrize("option", ["real_batch", "synthetic_batch", "inner_iterations", "prefix_period"])
def test_values_out_of_range_are_refused(option):
    with pytest.raises(ConfigError, match=option):
        Gradient(**{option: 0})


@pytest.mark.parametrize("option", ["prefix_steps", "early_steps"])
def test_steps_before_the_first_update_may_be_none_but_not_fewer(option):
    with pytest.raises(ConfigError, match=f"{option} must be >= 0, got -1"):
        Gradient(**{option: -1})


def united(blobs, frozen=3):
    """The batches of `batches`, with frozen images beside the two new ones of every class."""
    real, synthetic = batches(blobs)
    older = [torch.rand(frozen, 1, 8, 8, generator=torch.Generator().manual_seed(50 + c)) for c in range(3)]
    return real, replace(synthetic, frozen=older)


def push(objective, trainer, blobs, real, synthetic, iteration=0):
    """The objective's value and the gradient of the new pixels at one iteration."""
    state = objective.prepare(blobs, trainer, 0, Surroundings())
    value = torch.stack(list(objective.distances(state, real, synthetic, iteration, draw=9))).sum()
    return value.item(), torch.stack(torch.autograd.grad(value, list(synthetic.pixels)))


@pytest.mark.parametrize("classes", ["loop", "batched"])
@pytest.mark.parametrize("metric", ["mse", "l1", "cosine"])
def test_frozen_images_drawn_apart_complete_the_same_union(blobs, trainer, metric, classes):
    """With all images of both, nothing but the number of double passes differs from drawing all of the union."""
    options = {"metric": metric, "real_batch": 16, "network_images": 0, "classes": classes}
    real, synthetic = united(blobs)
    value, moved = push(Gradient(**options), trainer, blobs, real, synthetic)
    apart, pushed = push(Gradient(**options, synthetic_batch=2, frozen_batch=3), trainer, blobs, real, synthetic)
    assert apart == pytest.approx(value, rel=1e-4)
    torch.testing.assert_close(pushed, moved, rtol=1e-3, atol=1e-3 * float(moved.abs().max()))


def test_few_frozen_images_stand_for_all_of_them(blobs, trainer):
    """Copies of one image: one of them says what all of them say, and counts as many."""
    real, synthetic = united(blobs, frozen=1)
    many = replace(synthetic, frozen=[images.expand(6, -1, -1, -1) for images in synthetic.frozen])
    options = {"real_batch": 16, "network_images": 0, "augmentation": ()}
    value, moved = push(Gradient(**options), trainer, blobs, real, many)
    apart, pushed = push(Gradient(**options, frozen_batch=1), trainer, blobs, real, many)
    assert apart == pytest.approx(value, rel=1e-4)
    torch.testing.assert_close(pushed, moved, rtol=1e-3, atol=1e-3 * float(moved.abs().max()))


def test_every_new_image_is_pushed_where_they_are_drawn_apart(blobs, trainer):
    real, synthetic = united(blobs, frozen=30)
    options = {"real_batch": 16, "network_images": 0, "synthetic_batch": 4}
    _, moved = push(Gradient(**options), trainer, blobs, real, synthetic)
    _, pushed = push(Gradient(**options, frozen_batch=4), trainer, blobs, real, synthetic)
    assert (moved.flatten(2).abs().sum(2) == 0).any() and (pushed.flatten(2).abs().sum(2) > 0).all()


@pytest.mark.parametrize("classes", ["loop", "batched"])
@pytest.mark.parametrize("frozen_batch", [None, 3])
def test_the_norm_penalty_adds_the_length_of_every_class_s_gradient(blobs, trainer, classes, frozen_batch):
    """SDC's term by hand: over all convolution weights of a class at once, of the union where there is one."""
    about = {"real_batch": 16, "network_images": 0, "classes": classes, "augmentation": ()}
    parted = {} if frozen_batch is None else {"synthetic_batch": 2, "frozen_batch": frozen_batch}
    real, synthetic = united(blobs)
    plain, moved = push(Gradient(**about, **parted), trainer, blobs, real, synthetic)
    value, pushed = push(Gradient(**about, **parted, norm_penalty=0.3), trainer, blobs, real, synthetic)
    network = Gradient(**about).prepare(blobs, trainer, 0, Surroundings())
    network.renew(0)
    leaves, lengths = [pixels.detach().clone().requires_grad_() for pixels in synthetic.pixels], []
    for label, batch in enumerate(replace(synthetic, pixels=leaves).draw(c, None, 0) for c in range(3)):
        loss = F.cross_entropy(network.learner.network(batch), torch.full((len(batch),), label))
        weights = [p for p in network.learner.network.parameters() if p.dim() == 4]
        gradients = torch.autograd.grad(loss, weights, create_graph=True)
        lengths.append(sum(g.square().sum() for g in gradients).sqrt())
    added = torch.stack(lengths).sum()
    assert value - plain == pytest.approx(0.3 * added.item(), rel=1e-3)
    by_hand = 0.3 * torch.stack(torch.autograd.grad(added, leaves))
    torch.testing.assert_close(pushed - moved, by_hand, rtol=1e-2, atol=1e-3 * float(by_hand.abs().max()))


def test_a_gradient_of_zero_has_a_length_without_a_slope():
    weights = torch.zeros(4, 3, 2, 2, requires_grad=True)
    value = Compared(metric="mse", classes=2, norm_penalty=1.0)([weights], [torch.zeros(4, 3, 2, 2)])
    (slope,) = torch.autograd.grad(value, weights)
    assert value == 0 and (slope == 0).all()


def test_classes_have_a_length_each():
    gradients = [torch.tensor([3.0, 0.0, 0.0, 1.0]).reshape(4, 1, 1, 1), torch.tensor([4.0, 0.0]).reshape(2, 1, 1, 1)]
    nothing = [torch.zeros_like(g) for g in gradients]
    value = Compared(metric="mse", classes=2, norm_penalty=2.0)(gradients, nothing)
    assert value - distance(gradients, nothing, "mse") == pytest.approx(2 * (5 + 1))


@pytest.mark.parametrize("value", [-0.1, float("nan"), 1e10])
def test_a_norm_penalty_out_of_range_is_refused(value):
    with pytest.raises(ConfigError, match=r"^norm_penalty must be in \[0, 1e9\], got"):
        Gradient(norm_penalty=value)


def test_the_norm_penalty_makes_images_easy(blobs, trainer):
    """As many updates end in a set from which networks that know the real images have less to learn."""
    others, lengths = [trainer.train(blobs, 100, stream)[-1] for stream in (77, 78)], {}
    for penalty in (0.0, 30.0):
        objective = Gradient(real_batch=16, network_images=32, inner_iterations=20, norm_penalty=penalty)
        matching = Matching(objective=objective, trainer=trainer, factor=1, learning_rate=0.05)
        initial = torch.rand(3, 2, 1, 8, 8, generator=torch.Generator().manual_seed(3))
        pixels, _ = matching.optimise(initial, blobs, torch.ones(len(blobs)), iterations=60, planned_ipc=2, stream=4)
        inputs, none = normalise(pixels, blobs.mean, blobs.std), identity((1, 8, 8))
        gradients = [class_gradients(network, inputs[c], c, none) for network in others for c in range(3)]
        lengths[penalty] = sum(float(torch.cat([g.flatten() for g in found]).norm()) for found in gradients)
    assert lengths[30.0] < 0.6 * lengths[0.0]
