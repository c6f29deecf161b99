"""Networks trained side by side are those trained one after another."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dasm.errors import ConfigError
from dasm.evaluate import Protocol, evaluate
from dasm.evaluators import Evaluators
from dasm.machine import counts
from dasm.networks.convnet import ConvNet
from dasm.networks.mlp import MLP
from dasm.networks.vit import ViT
from dasm.steps import together as side_by_side
from dasm.steps.together import at_once, fit, train_all
from dasm.train import Learner, Recipe, Trainer
from tests.conftest import make_blobs
from tests.networks.versions import VARIANTS, narrow, noise, smallest_side, variant_id
from tests.steps.test_capture import ALL, needs_gpu

pytestmark = pytest.mark.deep

RECIPE = Recipe(batch_size=20, learning_rate=0.02, augmentation=ALL, cutmix=0.5)
every_variant = pytest.mark.parametrize(("name", "options"), VARIANTS, ids=map(variant_id, VARIANTS))


def apart(first, second) -> float:
    """The largest difference between two networks, as a share of the largest number of the tensor."""
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return max(((a - b).abs().max() / a.abs().max().clamp(min=1e-30)).item() for a, b in pairs)


def assert_alike(loop, together, tolerance: float) -> None:
    for one, other in zip(loop, together, strict=True):
        for first, second in zip(one, other, strict=True):
            assert not second.training
            assert apart(first, second) <= tolerance


def both(trainer, data, *rest, **options):
    return [train_all(trainer, data, *rest, **options, training=kind) for kind in ("loop", "together")]


def test_a_hundred_steps_side_by_side_are_those_one_after_another(double):
    data, few = double(make_blobs(16, 0)), double(make_blobs(5, 1))
    trainer = Trainer(network=ConvNet(width=4, depth=2), recipe=RECIPE)
    loop, together = both(trainer, data, 100, [3, 4, 5], 2, before=[few])
    assert_alike(loop, together, 1e-9)
    assert [len(networks) for networks in together] == [2, 2, 2]
    assert apart(together[0][0], together[0][1]) > 1e-3, "snapshots are of their moment"
    assert apart(together[0][1], together[1][1]) > 1e-3, "every network has a stream of its own"


def test_warm_networks_go_on_where_they_were(double):
    data, trainer = double(make_blobs(16, 0)), Trainer(network=MLP(width=6), recipe=RECIPE)
    starts = [trainer.start(data, stream).network for stream in (8, 9)]
    loop, together = both(trainer, data, 20, [3, 4], starts=starts)
    assert_alike(loop, together, 1e-9)
    fresh = train_all(trainer, data, 20, [3, 4], training="together")
    assert apart(fresh[0][0], together[0][0]) > 1e-3


def test_no_more_networks_are_trained_at_once_than_the_memory_holds(double, monkeypatch):
    data, sizes = double(make_blobs(4, 0)), []
    trainer = Trainer(network=MLP(width=4, depth=1), recipe=RECIPE)
    one = torch.zeros(1, 1, 8, 8)
    needed = 4 * 2 * 20 * (64 + 4 + 4 + 3) * 8  # flat pixels, a linear layer, its ReLU, the logits
    assert [at_once(trainer, 3, one, memory) for memory in (3 * needed, 3 * needed - 1, 1)] == [3, 2, 1]
    loop, whole = both(trainer, data, 5, [3, 4, 5])
    plain = side_by_side._together
    monkeypatch.setattr(
        side_by_side, "_together", lambda t, nets, *rest: sizes.append(len(nets)) or plain(t, nets, *rest)
    )
    in_groups = train_all(trainer, data, 5, [3, 4, 5], training="together", most=2)
    assert sizes == [2, 1]
    assert_alike(loop, in_groups, 1e-9)
    assert_alike(whole, in_groups, 1e-9)


@every_variant
def test_every_network_that_may_be_trained_together_can(double, name, options):
    network = narrow(name, **options)
    # Instance normalisation of 2 x 2 nearly equal pixels, at 16 pixels a side, would enlarge rounding errors.
    side = smallest_side(network, 1, 32)
    data, trainer = double(make_blobs(2, 0, side=side)), Trainer(network=network, recipe=RECIPE)
    batch = {"densenet", "efficientnet"}, {"resnet", "vgg"}
    statistics = name in batch[0] or options.get("norm", "batch" if name in batch[1] else "") == "batch"
    assert fit(trainer, data) == (not statistics and name not in ("vit", "convnext"))
    if fit(trainer, data):
        assert_alike(*both(trainer, data, 2, [3, 4]), 1e-9)


@pytest.mark.parametrize(
    ("network", "recipe"),
    [
        (ConvNet(width=4, norm="batch"), RECIPE),
        (ViT(width=12, depth=1), RECIPE),
        (MLP(width=4), Recipe(augmentation=("color", "crop", "one"))),
    ],
)
def test_what_cannot_be_trained_together_is_refused(blobs, network, recipe):
    trainer = Trainer(network=network, recipe=recipe)
    with pytest.raises(ConfigError, match=r"^training: together needs .* \(try auto\)$"):
        train_all(trainer, blobs, 1, [0], training="together")
    train_all(trainer, blobs, 1, [0], training="auto")


def test_the_benchmark_and_the_evaluators_do_as_they_are_told(task, monkeypatch):
    found, steps, step = {}, [], Learner.step
    monkeypatch.setattr(Learner, "step", lambda self, *rest: steps.append(1) or step(self, *rest))
    for training, expected in (("auto", 90), ("loop", 90), ("together", 0)):
        steps.clear()
        protocol = Protocol(recipe=RECIPE, steps=30, seeds=3, order="stagewise", training=training)
        found[training] = evaluate(protocol, MLP(width=8), [task.train, make_blobs(3, 5)], task, seed=0)
        assert len(steps) == expected, "on a CPU auto is the loop"
    assert found["auto"] == found["loop"] == found["together"]
    trainer = Trainer(network=MLP(width=8), recipe=RECIPE)
    common = {"trainer": trainer, "networks": 2, "steps": 20, "teacher_steps": 5, "start": "warm", "snapshots": 2}
    loop, together = (
        Evaluators(**common, training=kind).train([task.train, make_blobs(3, 5)], 2, 0) for kind in ("loop", "together")
    )
    assert_alike(loop, together, 1e-3)


@pytest.mark.parametrize(("norm", "unasked"), [("none", 0), ("instance", 64 * 4 * 9)])
def test_images_and_operations_are_those_of_all_networks(blobs, norm, unasked):
    """One after another, networks with norms go by written derivatives: no pass back to the images, none counted."""
    trainer, costs = Trainer(network=ConvNet(width=4, depth=2, norm=norm), recipe=RECIPE), []
    for training in ("loop", "together"):
        costs.append(counts.Counts())
        with counts.counting(costs[-1]):
            train_all(trainer, blobs, 5, [1, 2, 3], training=training)
    # 48 images in batches of 20, 20, 8, then 20, 20.
    assert costs[0].forward_images == costs[0].backward_images == 3 * 88
    assert replace(costs[0], flops=costs[0].flops + 3 * 88 * 2 * unasked) == costs[1]


@every_variant
def test_operations_are_those_that_torch_counts(name, options):
    network = narrow(name, **options)
    side = smallest_side(network, 3, 16)
    classifier, images = network.build((3, side, side), 5, 0).eval(), noise(2, 3, side, side)
    with torch.no_grad(), FlopCounterMode(display=False) as theirs:
        classifier(images)
    total = theirs.get_total_flops()
    if name == "vit":
        # torch does not count what its fused attention does: two products of queries, keys and values per block.
        total += 2 * 2 * network.depth * 2 * 65**2 * network.width
    for n in (2, 1):
        mine = counts.Counts()
        with torch.no_grad(), counts.counting(mine):
            classifier(images[:n])
        assert mine == counts.Counts(forward_images=n, flops=total * n // 2)
    mine = counts.Counts()
    with counts.counting(mine):
        assert classifier.features(images).requires_grad
    expected = 3 * (total - 2 * 2 * 5 * classifier.head.in_features)
    assert mine == counts.Counts(forward_images=2, backward_images=2, flops=expected)


@pytest.mark.gpu
@needs_gpu
def test_on_a_gpu_auto_is_together_and_that_is_the_loop():
    data = make_blobs(60, 0, side=16, channels=3).to("cuda")
    recipe = Recipe(batch_size=50, learning_rate=0.005)
    trainer = Trainer(network=ConvNet(width=16), recipe=recipe)
    # Few steps: training enlarges any rounding.
    auto = train_all(trainer, data, 10, [3, 4, 5])
    loop, together = both(trainer, data, 10, [3, 4, 5])
    assert_alike(auto, together, 0.0)
    assert_alike(loop, together, 1e-3)
