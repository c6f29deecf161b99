"""NCFM against its equation written out with complex numbers, and its pool of networks."""

import math

import pytest
import torch
import torch.nn.functional as F

from dasm import rng
from dasm.augment import draw
from dasm.errors import ConfigError
from dasm.networks.convnet import ConvNet
from dasm.objectives import Surroundings
from dasm.objectives.ncfm import NCFM, discrepancy
from dasm.train import Recipe, Trainer
from tests.handmade import equal_states
from tests.objectives import double

COLORS = ("color", "crop", "cutout")


def plain_discrepancy(synthetic, real, frequencies, amplitude):
    """Frequency by frequency: amplitudes and phases of two empirical characteristic functions."""
    total = torch.zeros((), dtype=torch.float64)
    for t in frequencies:
        s, r = (
            sum(torch.exp(1j * (t * x / (x * x).sum().sqrt()).sum()) for x in side) / len(side)
            for side in (synthetic, real)
        )
        amplitudes = (s.abs() - r.abs()) ** 2
        phases = 2 * s.abs() * r.abs() * (1 - torch.cos(s.angle() - r.angle()))
        total = total + (amplitude * amplitudes + (1 - amplitude) * phases).sqrt()
    return total / len(frequencies)


@pytest.mark.parametrize("amplitude", [0.5, 0.9, 1.0, 0.0])
def test_the_discrepancy_and_its_gradient_equal_the_plain_equation(amplitude):
    generator = torch.Generator().manual_seed(0)
    fast, real, frequencies = (torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (4, 7, 11))
    fast.requires_grad_()
    ours = discrepancy(fast, real, frequencies, amplitude)
    theirs = plain_discrepancy(fast, real, frequencies, amplitude)
    double.assert_same(ours, theirs, [fast])


def test_equal_sets_are_at_distance_zero_whatever_the_order_and_the_length():
    features = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    frequencies = torch.randn(9, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    value = discrepancy(features, 3 * features.detach().flip(0), frequencies, 0.5)
    assert value < 1e-6
    assert torch.autograd.grad(value, features)[0].isfinite().all()


def test_a_known_discrepancy():
    """Opposite points on the sphere at frequency pi / 2 along them: phases i and -i, amplitudes 1 and 1."""
    point, frequency = torch.tensor([[1.0, 0.0]]), torch.tensor([[math.pi / 2, 5.0]])
    assert discrepancy(point, -point, frequency, 0.0) == pytest.approx(2.0)
    assert discrepancy(point, -point, frequency, 0.75) == pytest.approx(1.0)
    both = torch.cat([point, -point])  # mean of i and -i: amplitude 0
    assert discrepancy(both, point, frequency, 1.0) == pytest.approx(1.0)


@pytest.mark.parametrize("calibration", [0.0, 2.0])
def test_distance_and_pixel_gradient_equal_the_plain_equation(calibration):
    data = double.blobs()
    leaves = double.pixels(data)
    real, synthetic = double.batches(data, leaves)
    objective = NCFM(real_batch=5, networks=3, epochs=2, frequencies=8, calibration=calibration)
    trainer = double.trainer(learning_rate=0.1)
    state = objective.prepare(data, trainer, 7, Surroundings())
    values = list(objective.distances(state, real, synthetic, 4, draw=11))
    generator = rng.generator(rng.derive(11, "network"))
    number, share = int(torch.randint(3, (), generator=generator)), float(torch.rand((), generator=generator))
    stream = rng.derive(rng.derive(7, "pool"), number)
    untrained, trained = trainer.start(data, stream).network, trainer.train(data, 2 * 6, stream)[0]
    mixed = trainer.start(data, 0).network
    with torch.no_grad():
        for m, a, b in zip(mixed.parameters(), untrained.parameters(), trained.parameters(), strict=True):
            m.copy_((1 - share) * a + share * b)
    theirs = 0
    for c, images in enumerate(leaves):
        shared = draw(COLORS, 1, (1, 8, 8), rng.generator(11, "shared", c))
        sides = double.normalised(images, data), real.draw(c, 5, 4)
        s, r = (torch.cat([mixed.features(shared(image[None])) for image in side]) for side in sides)
        frequencies = torch.randn(8, 12, generator=rng.generator(11, "frequencies", c)).double()
        theirs = theirs + 300 * plain_discrepancy(s, r.detach(), frequencies, 0.5)
        other = draw(COLORS, 1, (1, 8, 8), rng.generator(11, "calibration", c))
        logits = torch.cat([trained(other(image[None])) for image in sides[0]])
        theirs = theirs + calibration * -F.log_softmax(logits, dim=1)[:, c].mean()
    double.assert_same(torch.stack(values).sum(), theirs, leaves)


def test_frequencies_are_standard_normal_and_new_for_every_class_and_iteration(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "dasm.objectives.ncfm.discrepancy", lambda s, r, t, a: (seen.append(t), discrepancy(s, r, t, a))[1]
    )
    data = double.blobs()
    real, synthetic = double.batches(data, double.pixels(data))
    objective = NCFM(real_batch=5, networks=1, epochs=1, frequencies=400)
    state = objective.prepare(data, double.trainer(), 7, Surroundings())
    for iteration in range(2):
        list(objective.distances(state, real, synthetic, iteration, draw=rng.derive(1, iteration)))
    everything = torch.cat(seen)
    assert everything.mean().abs() < 0.03 and everything.std() == pytest.approx(1, abs=0.03)
    assert len({float(t[0, 0]) for t in seen}) == 6


def test_the_pool_holds_pairs_trained_on_all_real_images_and_mixes_them_evenly(blobs):
    trainer = Trainer(network=ConvNet(width=2, depth=1), recipe=Recipe(batch_size=32, cutmix=0.0))
    objective = NCFM(networks=2, epochs=3)
    state = objective.prepare(blobs, trainer, 5, Surroundings())
    pairs = []
    for number in range(2):
        stream = rng.derive(rng.derive(5, "pool"), number)
        pairs.append((trainer.start(blobs, stream).network, trainer.train(blobs, 3 * 2, stream)[0]))
    shares, taken = [], []
    for stream in range(60):
        mixed, trained = state.mix(stream)
        (number,) = [n for n, pair in enumerate(pairs) if equal_states(pair[1], trained)]
        first, last = (network.head.weight[0, 0] for network in pairs[number])
        shares.append(float(((mixed.head.weight[0, 0] - first) / (last - first)).detach()))
        taken.append(number)
    assert 15 < sum(taken) < 45
    assert min(shares) > -1e-3 and max(shares) < 1 + 1e-3
    assert sum(shares) / 60 == pytest.approx(0.5, abs=0.12) and max(shares) - min(shares) > 0.8
    for number, pair in enumerate(pairs):
        assert equal_states(state._untrained[number], pair[0]), "mixing leaves the pool alone"


def test_a_run_that_goes_on_does_not_train_the_pool_again(blobs, monkeypatch):
    trainer = Trainer(network=ConvNet(width=2, depth=1), recipe=Recipe(batch_size=32, cutmix=0.0))
    state = NCFM(networks=2, epochs=1).prepare(blobs, trainer, 5, Surroundings())
    before, saved = state.mix(3), {name: tensor.clone() for name, tensor in state.tensors().items()}
    monkeypatch.setattr(Trainer, "train", lambda *_a, **_k: pytest.fail("it trains"))
    again = NCFM(networks=2, epochs=1).prepare(blobs, trainer, 5, Surroundings())
    again.restore(saved)
    for one, other in zip(before, again.mix(3), strict=True):
        assert equal_states(one, other) and not other.training


@pytest.mark.parametrize("amplitude", [0.0, 0.5, 1.0])
def test_equal_batches_have_a_finite_gradient_at_any_weight_of_the_amplitude(amplitude):
    batch = torch.rand(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features = batch.clone().requires_grad_()
    frequencies = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    value = discrepancy(features, batch, frequencies, amplitude)
    assert value < 1e-5 and torch.autograd.grad(value, features)[0].isfinite().all()


def test_the_settings_are_those_of_ncfm():
    rule = NCFM().rule
    assert (rule.kind, rule.learning_rate, rule.momentum, rule.second, rule.decay) == ("adamw", 1e-3, 0.9, 0.999, 5e-4)
    assert not rule.normalised, "NCFM keeps pixels in [0, 1]"
    assert (NCFM().frequencies, NCFM().networks, NCFM().augmentation) == (1024, 20, COLORS)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("frequencies", 0),
        ("amplitude", 1.1),
        ("calibration", -1.0),
        ("networks", 0),
        ("epochs", 0),
        ("real_batch", 0),
        ("synthetic_batch", 0),
    ],
)
def test_values_out_of_range_are_refused(option, value):
    with pytest.raises(ConfigError, match=option):
        NCFM(**{option: value})
