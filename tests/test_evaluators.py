"""How evaluators start and in which order they learn, against the loops written out."""

import pytest
import torch

from dasm import rng
from dasm.errors import ConfigError
from dasm.evaluators import Evaluators, trained
from dasm.plugins import build
from dasm.train import Learner, Recipe, Trainer
from dasm.types import join
from tests.conftest import make_blobs
from tests.handmade import equal_states, with_batch_norm

PARTS = [make_blobs(size, size) for size in (2, 1, 3)]
STEPS = 7


@pytest.fixture
def evaluators(trainer):
    def make(**options):
        return Evaluators(**{"trainer": trainer, "networks": 2, "steps": STEPS, "teacher_steps": 4} | options)

    return make


def same(first, second) -> bool:
    return all(
        equal_states(a, b) for one, two in zip(first, second, strict=True) for a, b in zip(one, two, strict=True)
    )


def by_hand(trainer, stages, stream, start=None):
    """Train on one set after another, `STEPS` steps in all, numbered through."""
    learner = trainer.start(stages[-1], stream)
    if start is not None:
        learner.network.load_state_dict(start.state_dict())
    step = 0
    for number, data in enumerate(stages, start=1):
        # Step i belongs to stage floor(i * stages / steps).
        while step * len(stages) < number * STEPS and step < STEPS:
            learner.step(data, step, stream, trainer.recipe.rate(step, STEPS))
            step += 1
    return learner.network.eval()


def test_by_default_every_state_is_trained_afresh_on_all_parts_at_once(evaluators, trainer):
    found = evaluators().train(PARTS, 3, 5, previous=trained(evaluators().train(PARTS[:2], 2, 5)))
    for number, (network,) in enumerate(found):
        assert equal_states(network, by_hand(trainer, [join(PARTS)], rng.derive(5, "evaluator", 3, number)))


def test_stage_by_stage_one_network_learns_ever_more_parts(evaluators, trainer):
    found = evaluators(order="stagewise").train(PARTS, 3, 5)
    stages = [PARTS[0], join(PARTS[:2]), join(PARTS)]
    for number, (network,) in enumerate(found):
        assert equal_states(network, by_hand(trainer, stages, rng.derive(5, "evaluator", 3, number)))


def test_stages_share_the_steps_equally(evaluators, monkeypatch):
    sizes, step = [], Learner.step
    monkeypatch.setattr(Learner, "step", lambda self, data, *rest: sizes.append(len(data)) or step(self, data, *rest))
    evaluators(networks=1, steps=9, order="stagewise").train(PARTS, 3, 0)
    assert sizes == [6] * 3 + [9] * 3 + [18] * 3
    sizes.clear()
    evaluators(networks=1, order="stagewise").train(PARTS[:1], 0, 0)
    assert sizes == [6] * 4


def test_a_warm_start_goes_on_from_the_networks_of_the_state_before(evaluators, trainer):
    warm = evaluators(start="warm")
    before = warm.train(PARTS[:1], 1, 5)
    found = warm.train(PARTS[:2], 2, 5, trained(before))
    for number, (network,) in enumerate(found):
        stream = rng.derive(5, "evaluator", 2, number)
        assert equal_states(network, by_hand(trainer, [join(PARTS[:2])], stream, start=before[number][-1]))
    assert not same(found, evaluators().train(PARTS[:2], 2, 5))


def test_a_warm_start_takes_the_trained_network_and_not_an_earlier_snapshot(evaluators):
    warm = evaluators(start="warm", snapshots=3)
    before = warm.train(PARTS[:1], 1, 5)
    assert not equal_states(before[0][0], before[0][-1])
    assert same(warm.train(PARTS[:2], 2, 5), warm.train(PARTS[:2], 2, 5, [snapshots[-1] for snapshots in before]))


@pytest.mark.parametrize("order", ["shuffled", "stagewise"])
def test_what_came_before_is_trained_anew_where_it_is_not_given(evaluators, order):
    warm, networks = evaluators(start="warm", order=order), []
    for state in (1, 2, 3):
        networks = warm.train(PARTS[:state], state, 5, trained(networks))
        assert same(networks, warm.train(PARTS[:state], state, 5))


@pytest.mark.parametrize("state", [0, 1])
def test_the_first_evaluators_are_fresh_so_that_nothing_learnt_from_real_images_leaks(evaluators, state):
    teachers = trained(evaluators().train([make_blobs(16, 0)], 0, 5))
    found = evaluators(start="warm").train(PARTS[:1], state, 5, teachers)
    assert same(found, evaluators().train(PARTS[:1], state, 5))


def test_going_on_from_a_network_leaves_it_as_it_was(evaluators):
    warm = evaluators(start="warm")
    before = warm.train(PARTS[:1], 1, 5)
    kept = [{name: tensor.clone() for name, tensor in n.state_dict().items()} for n in trained(before)]
    warm.train(PARTS[:2], 2, 5, trained(before))
    for network, state in zip(trained(before), kept, strict=True):
        assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())


def test_a_start_brings_the_statistics_of_batch_norm_along():
    class Norm:
        def build(self, *_):
            return with_batch_norm()

    start = with_batch_norm()
    Learner(start, Recipe(augmentation=(), cutmix=0.0)).step(PARTS[2], 0, 0, 0.05)
    still = Recipe(learning_rate=1e-30, weight_decay=0.0, augmentation=(), cutmix=0.0)
    trainer = object.__new__(Trainer)
    vars(trainer).update(network=Norm(), recipe=still, _captured=None)
    (found,) = trainer.train(PARTS[2], 1, 0, start=start)
    assert found.body[1].num_batches_tracked == 2


@pytest.mark.parametrize(("option", "choices"), [("start", "fresh, warm"), ("order", "shuffled, stagewise")])
def test_choices_are_named(option, choices):
    values = {
        "trainer": {"network": {"name": "mlp"}, "recipe": {}},
        "networks": 1,
        "steps": 1,
        "teacher_steps": 1,
        option: "cold",
    }
    with pytest.raises(ConfigError, match=rf"^evaluator.{option}: must be one of {choices}, got 'cold'$"):
        build(Evaluators, values, "evaluator")


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"networks": 0}, r"networks must be in \[1, 1e6\], got 0"),
        ({"snapshots": 0}, "snapshots must be >= 1, got 0"),
        ({"steps": 2, "snapshots": 3}, "steps must be >= snapshots, got 2"),
        ({"teacher_steps": 2, "snapshots": 3}, "teacher_steps must be >= snapshots, got 2"),
    ],
)
def test_evaluators_out_of_range_are_refused(evaluators, options, rule):
    with pytest.raises(ConfigError, match=f"^{rule}$"):
        evaluators(**options)
