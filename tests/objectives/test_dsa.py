"""DSA: DC's equation under one shared operation per class."""

from collections import Counter

import pytest
import torch

from dasm import rng
from dasm.augment import Transform, draw
from dasm.errors import ConfigError
from dasm.objectives import Surroundings
from dasm.objectives.dsa import DSA
from dasm.train import Learner
from tests.objectives import double
from tests.objectives.test_dc import plain_distance

ALL = ("color", "crop", "cutout", "flip", "scale", "rotate")


@pytest.mark.parametrize("iteration", [0, 1])
def test_distance_and_pixel_gradient_equal_the_plain_equation(iteration):
    data = double.blobs()
    leaves = double.pixels(data)
    real, synthetic = double.batches(data, leaves)
    objective = DSA(real_batch=5, outer=2, inner=3)
    state = objective.prepare(data, double.trainer(augmentation=("one", *ALL)), 7, Surroundings())
    for before in range(iteration + 1):
        ours = torch.stack(list(objective.distances(state, real, synthetic, before, draw=before))).sum()
    theirs = 0
    for c, images in enumerate(leaves):
        shared = draw(("one", *ALL), 1, (1, 8, 8), rng.generator(iteration, "shared", c))
        sides = real.draw(c, 5, iteration), double.normalised(images, data)
        moved = [torch.cat([shared(image[None]) for image in side]) for side in sides]
        theirs = theirs + plain_distance(state.student.network, *moved, c)
    double.assert_same(ours, theirs, leaves)


def test_both_sides_get_one_shared_draw():
    """A synthetic batch equal to the real one stays at distance zero under augmentation."""
    data = double.blobs(4)
    leaves = [data.images[data.members(c)].clone().requires_grad_() for c in range(3)]
    real, synthetic = double.batches(data, leaves)
    objective = DSA(outer=1, inner=0)
    state = objective.prepare(data, double.trainer(), 0, Surroundings())
    for iteration in range(8):
        for value in objective.distances(state, real, synthetic, iteration, draw=rng.derive(9, iteration)):
            assert abs(value) < 1e-2  # 9 rows of norm^2 / (norm^2 + 1e-6)


def test_one_operation_per_class_and_iteration_one_draw_for_all_its_images(monkeypatch):
    data = double.blobs()
    real, synthetic = double.batches(data, double.pixels(data))
    used = []
    apply = Transform.__call__
    monkeypatch.setattr(Transform, "__call__", lambda self, x: (used.append(self), apply(self, x))[1])
    objective = DSA(real_batch=5, outer=1, inner=0)
    state = objective.prepare(data, double.trainer(), 0, Surroundings())
    for iteration in range(20):
        list(objective.distances(state, real, synthetic, iteration, draw=rng.derive(2, iteration)))
    assert len(used) == 20 * 3 * 2
    operations = [transform.operations for transform in used]
    assert operations[::2] == operations[1::2], "the same on both sides"
    assert all(len(one) == 1 for one in operations) and set(Counter(operations)) == {(name,) for name in ALL}
    assert any(len(set(operations[i : i + 6 : 2])) > 1 for i in range(0, 120, 6)), "every class has its own"
    for transform in used:
        assert (transform.angle == transform.angle[0]).all() and (transform.shift == transform.shift[0]).all()


def test_networks_learn_from_augmented_synthetic_images_alone(monkeypatch):
    learnt, used = [], []
    step, apply = Learner.step, Transform.__call__
    monkeypatch.setattr(Learner, "step", lambda self, d, *a: (learnt.append(d), step(self, d, *a))[1])
    monkeypatch.setattr(Transform, "__call__", lambda self, x: (used.append(len(self.flip)), apply(self, x))[1])
    data = double.blobs()
    leaves = double.pixels(data)
    real, synthetic = double.batches(data, leaves)
    objective = DSA(real_batch=5, outer=2, inner=1)
    state = objective.prepare(data, double.trainer(batch_size=64, augmentation=("one", *ALL)), 0, Surroundings())
    for iteration in range(2):
        list(objective.distances(state, real, synthetic, iteration, draw=iteration))
    (seen,) = learnt
    torch.testing.assert_close(seen.images, torch.cat(leaves).detach())
    assert used == [5, 2] * 3 + [6] + [5, 2] * 3


def test_the_operations_and_the_rule_are_those_of_dsa():
    assert DSA().augmentation == ("one", *ALL)
    rule = DSA().rule
    assert (rule.kind, rule.learning_rate, rule.momentum, rule.normalised) == ("sgd", 0.1, 0.5, True)


@pytest.mark.parametrize(
    ("option", "value"), [("real_batch", 0), ("synthetic_batch", 0), ("outer", 0), ("inner", -1), ("refresh", 0)]
)
def test_values_out_of_range_are_refused(option, value):
    with pytest.raises(ConfigError, match=option):
        DSA(**{option: value})
