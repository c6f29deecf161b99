"""CAFE against its equation written out, the layers it listens to, and what governs its loops."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

from dasm import rng
from dasm.augment import draw
from dasm.errors import ConfigError
from dasm.networks import Classifier
from dasm.networks.convnet import ConvNet
from dasm.networks.mlp import MLP
from dasm.objective_parts.batches import RealBatches
from dasm.objective_parts.features import layer_features
from dasm.objective_parts.student import Student
from dasm.objectives import Surroundings
from dasm.objectives.cafe import CAFE
from tests.objectives import double


def plain_features(network, image):
    """What every block says before its pooling, and the flat end."""
    heard, x = [], image[None]
    for child in network.body:
        x = child(x)
        if isinstance(child, nn.ReLU):
            heard.append(x[0])
    return [*heard, x[0]]


def plain_distance(network, pairs, weights, discrimination):
    total, centres, everyone = torch.zeros((), dtype=torch.float64), [], []
    for c, (real, synthetic) in enumerate(pairs):
        theirs = [[f.detach() for f in plain_features(network, image)] for image in real]
        ours = [plain_features(network, image) for image in synthetic]
        for depth, weight in enumerate(weights):
            r = sum(f[depth] for f in theirs) / len(theirs)
            s = sum(f[depth] for f in ours) / len(ours)
            total = total + weight * ((r - s) ** 2).sum()
        centres.append(s)
        everyone += [(f[-1], c) for f in theirs]
    for feature, c in everyone:
        logits = torch.stack([(feature * centre).sum() for centre in centres])
        total = total + discrimination * -torch.log(torch.exp(logits[c]) / torch.exp(logits).sum())
    return total


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("augmentation", [(), ("one", "color", "crop", "cutout", "flip", "scale", "rotate")])
@pytest.mark.parametrize("iteration", [0, 1])
def test_distance_and_pixel_gradient_equal_the_plain_equation(depth, augmentation, iteration):
    data = double.blobs()
    leaves = double.pixels(data)
    real, synthetic = double.batches(data, leaves)
    objective = CAFE(real_batch=5, augmentation=augmentation, most_epochs=3)
    state = objective.prepare(data, double.trainer(depth), 7, Surroundings())
    for before in range(iteration + 1):
        (ours,) = objective.distances(state, real, synthetic, before, draw=before)
    pairs = []
    for c, images in enumerate(leaves):
        shared = draw(augmentation, 1, (1, 8, 8), rng.generator(iteration, "shared", c))
        sides = real.draw(c, 5, iteration), double.normalised(images, data)
        pairs.append([torch.cat([shared(image[None]) for image in side]) for side in sides])
    weights = {2: (0.1, 0.1, 2.0), 3: (0.1, 0.1, 1.0, 2.0)}[depth]
    double.assert_same(ours, plain_distance(state.student.network, pairs, weights, 0.01), leaves)


@pytest.mark.parametrize(("norm", "sizes"), [("instance", [10, 5, 6, 7, 7, 7]), ("batch", [15, 6, 7, 7, 7])])
def test_as_many_classes_go_through_together_as_memory_allows_unless_batches_are_normalised(monkeypatch, norm, sizes):
    data = double.blobs()
    leaves = double.pixels(data)
    real, synthetic = double.batches(data, leaves)
    trainer = replace(double.trainer(), network=double.Double(inner=ConvNet(width=3, depth=1, norm=norm)))

    def run():
        objective = CAFE(real_batch=5, test_batch=20, checks=2, moved=0.0, most_epochs=1)
        state = objective.prepare(data, trainer, 0, Surroundings())
        (value,) = objective.distances(state, real, synthetic, 0, draw=0)
        return value, state._accuracy(real)

    whole, accuracy = run()
    monkeypatch.setattr("dasm.objective_parts.features._BATCH_PIXELS", 64 * 12)
    seen, forward = [], torch.nn.Conv2d.forward
    monkeypatch.setattr(torch.nn.Conv2d, "forward", lambda self, x: (seen.append(len(x)), forward(self, x))[1])
    value, same = run()
    assert seen == sizes
    double.assert_same(value, whole, leaves)
    assert same == accuracy


def test_deeper_layers_than_weights_take_the_last_one():
    data = double.blobs()
    leaves = double.pixels(data)
    real, synthetic = double.batches(data, leaves)
    objective = CAFE(real_batch=5, layer_weights=(0.3, 0.7), embedding_weight=0.0, discrimination=0.0)
    state = objective.prepare(data, double.trainer(3), 7, Surroundings())
    (ours,) = objective.distances(state, real, synthetic, 0, draw=0)
    pairs = [(real.draw(c, 5, 0), double.normalised(images, data)) for c, images in enumerate(leaves)]
    double.assert_same(ours, plain_distance(state.student.network, pairs, (0.3, 0.7, 0.7, 0.0), 0.0), leaves)


def test_equal_batches_are_aligned_under_every_shared_draw():
    data = double.blobs(4)
    leaves = [data.images[data.members(c)].clone().requires_grad_() for c in range(3)]
    real, synthetic = double.batches(data, leaves)
    objective = CAFE(augmentation=("one", "color", "crop", "cutout", "scale", "rotate"), discrimination=0.0)
    state = objective.prepare(data, double.trainer(), 0, Surroundings())
    for stream in range(8):
        (value,) = objective.distances(state, real, synthetic, 0, draw=stream)
        assert value < 1e-20


class Residual(nn.Module):
    """Two stages of one block with one shared, in-place activation each, as torchvision writes them."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1, stride=2)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.relu(self.first(x) + x)
        x = self.relu(self.second(self.relu(self.first(x[:, :1]))))
        return x.flatten(1)


def test_a_layer_is_the_last_activation_of_a_height_and_width():
    network = Classifier(Residual(), nn.Linear(32, 3))
    images = torch.rand(5, 1, 8, 8)
    layers, embedding = layer_features(network, images)
    assert [tuple(layer.shape) for layer in layers] == [(5, 2, 8, 8), (5, 2, 4, 4)]
    assert torch.equal(layers[1].flatten(1), embedding)
    first = torch.relu(network.body.first(images) + images)
    assert torch.equal(layers[0], torch.relu(network.body.first(first[:, :1]))), "not the first of its size"


def test_vectors_are_a_layer_each_and_no_hook_stays():
    network = MLP(width=4, depth=3).build((1, 8, 8), 3, stream=0)
    layers, _ = layer_features(network, torch.rand(5, 1, 8, 8))
    assert [tuple(layer.shape) for layer in layers] == [(5, 4)] * 3
    assert not any(module._forward_hooks for module in network.modules())


def test_a_network_without_activations_is_refused():
    with pytest.raises(ConfigError, match="activation modules"):
        layer_features(Classifier(nn.Flatten(), nn.Linear(64, 3)), torch.rand(2, 1, 8, 8))


def govern(monkeypatch, accuracies, updates, **options):
    """Run the loops on accuracies made up; return networks drawn and epochs learnt before every pixel update."""
    data = double.blobs()
    real, synthetic = double.batches(data, double.pixels(data))
    answers = iter(accuracies)
    objective = CAFE(real_batch=2, **options)
    state = objective.prepare(data, double.trainer(), 0, Surroundings())
    monkeypatch.setattr(type(state), "_accuracy", lambda self, real: next(answers))
    events = []
    monkeypatch.setattr(
        Student, "renew", lambda self, number: (events.append(f"network {number}"), _renew(self, number))
    )
    monkeypatch.setattr(Student, "learn", lambda self, synthetic, epochs: events.append("epoch"))
    for iteration in range(updates):
        list(objective.distances(state, real, synthetic, iteration, draw=iteration))
        events.append("update")
    return [(name, len(list(group))) for name, group in itertools.groupby(events)]


_renew = Student.renew


def test_a_network_learns_until_its_accuracy_has_moved_and_goes_once_it_has_settled(monkeypatch):
    """Three accuracies are looked back on; those of the epochs are in brackets."""
    story = [0.1, [0.1, 0.1, 0.3], 0.3, [0.3, 0.31, 0.32, 0.4], 0.4, [0.1, 0.2, 0.3], 0.39, [0.1, 0.2, 0.3], 0.41]
    story += [0.4, [0.1, 0.2, 0.3]]
    flat = [value for part in story for value in (part if isinstance(part, list) else [part])]
    events = govern(monkeypatch, flat, 7, checks=3, settled=0.04, moved=0.05)
    expected = ["update", 3, "update", 4, "update", 3, "update", 3, "update", "network 1", "update", 3, "update"]
    assert events == [("epoch", part) if isinstance(part, int) else (part, 1) for part in expected]


def test_the_bounds_end_loops_that_would_not_end(monkeypatch):
    events = govern(monkeypatch, itertools.repeat(0.5), 5, checks=2, settled=0.0, most_epochs=4, most_updates=3)
    updates = [("update", 1), ("epoch", 4)]
    assert events == [*updates, *updates, ("update", 1), ("network 1", 1), *updates, ("update", 1)]


def test_the_accuracy_is_that_of_the_network_on_real_images_of_the_window(blobs, trainer):
    objective = CAFE(test_batch=6)
    state = objective.prepare(blobs, trainer, 0, Surroundings())
    real = RealBatches(data=blobs, weights=torch.ones(len(blobs)), stream=3)
    with torch.no_grad():
        state.student.network.head.weight.zero_()
        state.student.network.head.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
    assert state._accuracy(real) == pytest.approx(1 / 3)
    before = trainer.train(blobs, 40, 1)[0]
    state.student.network.load_state_dict(before.state_dict())
    drawn = torch.cat([real.draw(c, 6, 1) for c in range(3)])
    right = before(drawn).argmax(1) == torch.arange(3).repeat_interleave(6)
    assert state._accuracy(real) == pytest.approx(float(right.double().mean()))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("layer_weights", ()),
        ("embedding_weight", -1.0),
        ("discrimination", -1.0),
        ("real_batch", 0),
        ("synthetic_batch", 0),
        ("test_batch", 0),
        ("checks", 1),
        ("settled", -1.0),
        ("moved", -1.0),
        ("most_updates", 0),
        ("most_epochs", 0),
    ],
)
def test_values_out_of_range_are_refused(option, value):
    with pytest.raises(ConfigError, match=option):
        CAFE(**{option: value})


def test_the_pixels_move_as_in_cafe():
    rule = CAFE().rule
    assert (rule.kind, rule.learning_rate, rule.momentum, rule.normalised) == ("sgd", 0.1, 0.5, True)
