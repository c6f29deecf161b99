"""DC against its equation written out, its loops, and what its networks learn from."""

import pytest
import torch
import torch.nn.functional as F

from dasm import rng
from dasm.errors import ConfigError
from dasm.objective_parts.classwise import distance, row_distance
from dasm.objective_parts.condensation import loops
from dasm.objective_parts.student import Student
from dasm.objectives import Surroundings
from dasm.objectives.dc import DC
from dasm.train import Learner
from tests.objectives import double


def plain_distance(network, real, synthetic, label):
    """Layer by layer, row by row, number by number, as the paper writes it."""
    losses = [F.cross_entropy(network(images), torch.full((len(images),), label)) for images in (real, synthetic)]
    weights = [p for name, p in network.named_parameters() if name.endswith("weight") and p.dim() in (2, 4)]
    total = torch.zeros((), dtype=torch.float64)
    for r, s in zip(*(torch.autograd.grad(loss, weights, create_graph=True) for loss in losses), strict=True):
        for a, b in zip(r.detach(), s, strict=True):
            a, b = a.flatten(), b.flatten()
            dot = sum(x * y for x, y in zip(a, b, strict=True))
            sizes = sum(x * x for x in a) ** 0.5 * sum(y * y for y in b) ** 0.5
            total = total + 1 - dot / (sizes + 1e-6)
    return total


@pytest.mark.parametrize("iteration", [0, 1])
def test_distance_and_pixel_gradient_equal_the_plain_equation(iteration):
    data = double.blobs()
    leaves = double.pixels(data)
    real, synthetic = double.batches(data, leaves)
    objective = DC(real_batch=5, outer=2, inner=3)
    state = objective.prepare(data, double.trainer(), 7, Surroundings())
    for before in range(iteration + 1):
        ours = torch.stack(list(objective.distances(state, real, synthetic, before, draw=before))).sum()
    theirs = sum(
        plain_distance(state.student.network, real.draw(c, 5, iteration), double.normalised(images, data), c)
        for c, images in enumerate(leaves)
    )
    double.assert_same(ours, theirs, leaves)


def test_the_classifier_takes_part_and_vectors_do_not():
    network = double.trainer().start(double.blobs(), 0).network
    gradients = torch.autograd.grad(
        network(torch.rand(2, 1, 8, 8, dtype=torch.float64)).square().sum(), list(network.parameters())
    )
    weights = [g for g in gradients if g.dim() > 1]
    assert [tuple(w.shape) for w in weights] == [(3, 1, 3, 3), (3, 3, 3, 3), (3, 12)]
    assert row_distance(weights, [-w for w in weights]) == pytest.approx(2 * 9, abs=1e-3)
    assert row_distance(weights, [2 * w for w in weights]) == pytest.approx(0, abs=1e-3)


def test_rows_of_next_to_no_gradient_are_damped_and_their_lengths_multiply():
    """DC and IDC divide by the product of both lengths plus 1e-6, not by each length or 1e-6, whichever is larger."""
    row = torch.tensor([[3e-4, 4e-4]], dtype=torch.float64)
    for measured in (
        row_distance([row], [2 * row]),
        distance([row[..., None, None]], [2 * row[..., None, None]], "cosine"),
    ):
        assert measured == pytest.approx(1 - 5e-7 / (5e-7 + 1e-6))


def test_a_row_without_a_gradient_counts_as_1_and_has_no_slope():
    row = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
    value = row_distance([row], [torch.ones(1, 4, dtype=torch.float64)])
    assert value == 1
    assert torch.autograd.grad(value, row)[0].isfinite().all()


def test_equal_batches_are_at_distance_zero():
    data = double.blobs(4)
    leaves = [data.images[data.members(c)].clone().requires_grad_() for c in range(3)]
    real, synthetic = double.batches(data, leaves)
    objective = DC(outer=1, inner=0)
    state = objective.prepare(data, double.trainer(), 0, Surroundings())
    for value in objective.distances(state, real, synthetic, 0, draw=0):
        assert abs(value) < 1e-3  # 9 rows of norm^2 / (norm^2 + 1e-6)


@pytest.mark.parametrize(
    ("images", "expected"),
    [(1, (1, 1)), (2, (10, 50)), (10, (10, 50)), (11, (20, 25)), (30, (30, 20)), (40, (40, 15)), (50, (50, 10))],
)
def test_the_loops_are_the_published_ones(images, expected):
    assert loops(images, None, None) == expected
    assert loops(images, 3, None) == (3, expected[1])
    assert loops(images, None, 0) == (expected[0], 0)


def test_more_images_than_were_published_need_both_loops():
    for outer, inner in ((None, None), (4, None), (None, 4)):
        with pytest.raises(ConfigError, match="up to 50 training images per class, got 51"):
            loops(51, outer, inner)
    assert loops(51, 4, 5) == (4, 5)


def run(objective, trainer, data, iterations, surroundings=None, count=2):
    """Spy on what networks are drawn and on what they learn from."""
    leaves = [images.detach().float().requires_grad_() for images in double.pixels(data, count)]
    real, synthetic = double.batches(data, leaves)
    drawn, learnt = [], []
    with pytest.MonkeyPatch.context() as patch:
        renew, step = Student.renew, Learner.step
        patch.setattr(Student, "renew", lambda self, n: (drawn.append(n), renew(self, n))[1])
        patch.setattr(Learner, "step", lambda self, d, s, *a: (learnt.append((d, s)), step(self, d, s, *a))[1])
        state = objective.prepare(data, trainer, 5, surroundings or Surroundings())
        for iteration in range(iterations):
            list(objective.distances(state, real, synthetic, iteration, rng.derive(1, iteration)))
            with torch.no_grad():
                leaves[0].add_(0.1)
    return leaves, drawn, learnt


def test_networks_learn_from_the_synthetic_images_alone_as_they_stand_after_the_update(blobs, trainer):
    leaves, _, learnt = run(DC(real_batch=4, outer=2, inner=3), trainer, blobs, 2)
    assert len(learnt) == 3, "three epochs of one batch"
    for data, _ in learnt:
        assert data.labels.tolist() == [0, 0, 1, 1, 2, 2]
        expected = torch.cat([leaves[0].detach() - 0.1, leaves[1].detach(), leaves[2].detach()])
        torch.testing.assert_close(data.images, expected)
        assert torch.equal(data.mean, blobs.mean)


def test_networks_learn_from_the_frozen_segments_too(blobs, trainer):
    prefix = blobs.subset(torch.tensor([0, 16, 32]))
    *_, learnt = run(DC(real_batch=4, outer=2, inner=1), trainer, blobs, 2, Surroundings(prefix=prefix))
    data, _ = learnt[0]
    assert data.labels.tolist() == [0, 1, 2, 0, 0, 1, 1, 2, 2]
    torch.testing.assert_close(data.images[:3], prefix.pixels())


def test_a_network_sees_outer_updates_and_learns_between_them_only(blobs, trainer):
    _, drawn, learnt = run(DC(real_batch=4, outer=3, inner=2), trainer, blobs, 7, count=6)
    assert drawn == [0, 0, 1, 2]
    # 18 images in batches of 16: two steps an epoch; none after the last update of a network.
    assert [step for _, step in learnt] == [0, 1, 2, 3, 4, 5, 6, 7] * 2


def test_the_published_loops_follow_the_images_of_the_whole_set(blobs, trainer):
    prefix = blobs.subset(torch.tensor([0, 16, 32]))
    for surroundings, count, steps in ((None, 1, 0), (Surroundings(prefix=prefix), 1, 50)):
        *_, learnt = run(DC(real_batch=4), trainer, blobs, 2, surroundings, count)
        assert len(learnt) == steps


@pytest.mark.parametrize(
    ("option", "value"), [("real_batch", 0), ("synthetic_batch", 0), ("outer", 0), ("inner", -1), ("refresh", 0)]
)
def test_values_out_of_range_are_refused(option, value):
    with pytest.raises(ConfigError, match=option):
        DC(**{option: value})


def test_the_pixels_move_as_in_dc():
    rule = DC().rule
    assert (rule.kind, rule.learning_rate, rule.momentum, rule.normalised, rule.by_budget) == (
        "sgd",
        0.1,
        0.5,
        True,
        False,
    )
    assert not DC.class_by_class
