"""DM against its equation written out."""

from dataclasses import replace

import pytest
import torch

from dasm import rng
from dasm.augment import draw
from dasm.errors import ConfigError
from dasm.networks.convnet import ConvNet
from dasm.objectives import Surroundings
from dasm.objectives.dm import DM
from dasm.train import Learner
from tests.objectives import double


def plain_distance(network, pairs):
    total = torch.zeros((), dtype=torch.float64)
    for real, synthetic in pairs:
        theirs = [network.features(image[None])[0].detach() for image in real]
        ours = [network.features(image[None])[0] for image in synthetic]
        for d in range(len(theirs[0])):
            total = total + (sum(f[d] for f in theirs) / len(theirs) - sum(f[d] for f in ours) / len(ours)) ** 2
    return total


def augmented(objective, data, real, leaves, iteration, stream):
    for c, images in enumerate(leaves):
        shared = draw(objective.augmentation, 1, (1, 8, 8), rng.generator(stream, "shared", c))
        sides = real.draw(c, objective.real_batch, iteration), double.normalised(images, data)
        yield tuple(torch.cat([shared(image[None]) for image in side]) for side in sides)


@pytest.mark.parametrize("iteration", [0, 3])
def test_distance_and_pixel_gradient_equal_the_plain_equation(iteration):
    data = double.blobs()
    leaves = double.pixels(data)
    real, synthetic = double.batches(data, leaves)
    objective = DM(real_batch=5)
    state = objective.prepare(data, double.trainer(), 7, Surroundings())
    (ours,) = objective.distances(state, real, synthetic, iteration, draw=11)
    network = double.trainer().start(data, rng.derive(11, "network")).network
    theirs = plain_distance(network, augmented(objective, data, real, leaves, iteration, 11))
    double.assert_same(ours, theirs, leaves)


def test_classes_of_different_size_keep_their_own_means():
    data = double.blobs()
    window = torch.ones(len(data))
    window[data.members(0)[:4]] = 0
    leaves = [images[: c + 1].detach().requires_grad_() for c, images in enumerate(double.pixels(data, 3))]
    real, synthetic = double.batches(data, leaves)
    real = type(real)(data=data, weights=window, stream=3)
    objective = DM(augmentation=())
    state = objective.prepare(data, double.trainer(), 7, Surroundings())
    (ours,) = objective.distances(state, real, synthetic, 0, draw=11)
    network = double.trainer().start(data, rng.derive(11, "network")).network
    pairs = list(augmented(objective, data, real, leaves, 0, 11))
    assert [(len(r), len(s)) for r, s in pairs] == [(3, 1), (7, 2), (7, 3)]
    double.assert_same(ours, plain_distance(network, pairs), leaves)


def test_equal_batches_are_at_distance_zero_under_every_shared_draw():
    data = double.blobs(4)
    leaves = [data.images[data.members(c)].clone().requires_grad_() for c in range(3)]
    real, synthetic = double.batches(data, leaves)
    objective = DM()
    state = objective.prepare(data, double.trainer(), 0, Surroundings())
    for iteration in range(12):
        (value,) = objective.distances(state, real, synthetic, iteration, draw=iteration)
        assert value < 1e-20


def test_every_iteration_has_a_fresh_network_and_none_is_trained(monkeypatch):
    data = double.blobs()
    real, synthetic = double.batches(data, double.pixels(data))
    built, build = [], ConvNet.build
    monkeypatch.setattr(ConvNet, "build", lambda self, *a: (built.append(build(self, *a)), built[-1])[1])
    monkeypatch.setattr(Learner, "step", lambda *a: pytest.fail("it learns"))
    objective = DM(real_batch=5)
    state = objective.prepare(data, double.trainer(), 0, Surroundings())
    for iteration in range(4):
        list(objective.distances(state, real, synthetic, iteration, draw=rng.derive(0, iteration)))
    assert len({float(network.body[0].weight.detach().sum()) for network in built}) == 4
    assert state.tensors() == {}


def test_all_classes_go_through_the_network_together(monkeypatch):
    data = double.blobs()
    real, synthetic = double.batches(data, double.pixels(data))
    sizes = []
    forward = torch.nn.Conv2d.forward
    monkeypatch.setattr(torch.nn.Conv2d, "forward", lambda self, x: (sizes.append(len(x)), forward(self, x))[1])
    objective = DM(real_batch=5)
    state = objective.prepare(data, double.trainer(depth=1), 0, Surroundings())
    list(objective.distances(state, real, synthetic, 0, draw=0))
    assert sizes == [15, 6]


@pytest.mark.parametrize(("norm", "sizes"), [("instance", [10, 4, 5, 2]), ("batch", [15, 6])])
def test_as_many_classes_go_through_together_as_memory_allows_unless_batches_are_normalised(monkeypatch, norm, sizes):
    data = double.blobs()
    leaves = double.pixels(data)
    real, synthetic = double.batches(data, leaves)
    objective = DM(real_batch=5)
    trainer = replace(double.trainer(), network=double.Double(inner=ConvNet(width=3, depth=1, norm=norm)))
    whole = list(objective.distances(objective.prepare(data, trainer, 0, Surroundings()), real, synthetic, 0, draw=0))
    seen, forward = [], torch.nn.Conv2d.forward
    monkeypatch.setattr(torch.nn.Conv2d, "forward", lambda self, x: (seen.append(len(x)), forward(self, x))[1])
    monkeypatch.setattr("dasm.objective_parts.features._BATCH_PIXELS", 64 * 12)
    parts = list(objective.distances(objective.prepare(data, trainer, 0, Surroundings()), real, synthetic, 0, draw=0))
    assert seen == sizes and len(whole) == 1
    double.assert_same(torch.stack(parts).sum(), whole[0], leaves)


def test_the_operations_and_the_rule_are_those_of_dm():
    assert set(DM().augmentation) == {"one", "color", "crop", "cutout", "flip", "scale", "rotate"}
    rule = DM().rule
    assert (rule.kind, rule.learning_rate, rule.momentum, rule.normalised) == ("sgd", 1.0, 0.5, True)


@pytest.mark.parametrize("option", ["real_batch", "synthetic_batch"])
def test_values_out_of_range_are_refused(option):
    with pytest.raises(ConfigError, match=option):
        DM(**{option: 0})
