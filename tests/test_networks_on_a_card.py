"""Every network on the pretended card: a recorded training step, scores and a matching iteration, every augmentation.

What a card would refuse is refused (`tests.refused`), and the recorded step is run as it is recorded and replayed.
"""

import pytest
import torch

from dasm.matching import Matching
from dasm.networks import embed, predict
from dasm.objectives.dc import DC
from dasm.objectives.dm import DM
from dasm.objectives.gradient import Gradient
from dasm.train import Recipe, Trainer
from tests.conftest import make_blobs
from tests.networks.versions import VARIANTS, made, variant_id
from tests.pretended import pretended, replaying

pytestmark = [pytest.mark.deep, pytest.mark.skipif(torch.cuda.is_available(), reason="has a real card")]

ALL = ("flip", "color", "crop", "scale", "rotate", "cutout")
# As narrow as they go.
TINY = {
    "alexnet": {"widths": [4, 4, 4, 4, 4]},
    "convnet": {"width": 4},
    "convnext": {"width": 4, "depths": [1, 1, 1, 1]},
    "densenet": {"growth": 2, "blocks": [1, 1, 1, 1]},
    "efficientnet": {"width": 0.1, "depth": 0.1},
    "mlp": {"width": 4},
    "resnet": {"depth": 10, "width": 2},
    "resnet_ap": {"width": 2},
    "vgg": {"width": 2},
    "vit": {"width": 6, "depth": 1},
}
CASES = [(name, options, 32) for name, options in VARIANTS]
# Sizes from which the stem is another one.
CASES += [(name, {}, 68) for name in ("alexnet", "convnext", "densenet", "efficientnet", "resnet", "resnet_ap", "vit")]
CASES += [(name, {}, 132) for name in ("resnet", "resnet_ap")]


@pytest.fixture
def card(monkeypatch):
    with pretended(monkeypatch), replaying(monkeypatch) as recorded:
        yield recorded


def data(side):
    return make_blobs(4, 0, classes=2, side=side, channels=3).to("cuda")


def of(name, options):
    return made(name, **TINY.get(name, {}) | options)


@pytest.mark.parametrize(("name", "options", "side"), CASES, ids=[f"{variant_id(c[:2])}-{c[2]}" for c in CASES])
def test_a_network_learns_scores_and_is_matched(card, name, options, side):
    recipe = Recipe(batch_size=5, learning_rate=0.01, augmentation=ALL, cutmix=0.5)
    trainer, real = Trainer(network=of(name, options), recipe=recipe), data(side)
    before = torch.get_rng_state()
    learner = trainer.start(real, 0)
    first = [value.cpu().clone() for value in learner.network.parameters()]
    learner.steps(real, 0, 3, 5, 0.01)
    assert card == [5, 3], "whole batches, and the last one of an epoch"
    assert any(not torch.equal(a, b.cpu()) for a, b in zip(first, learner.network.parameters(), strict=True))
    assert predict(learner.network, real).is_cuda and embed(learner.network, real).is_cuda
    # A network without a convolution is matched by all its weights.
    kinds = [DM(real_batch=2, augmentation=("one", *ALL))]
    if name == "mlp":
        kinds.append(DC(real_batch=2, outer=2, inner=1))
    else:
        kinds.append(Gradient(real_batch=2, network_images=5, augmentation=ALL))
    for objective in kinds:
        Matching(objective=objective, trainer=trainer, factor=2).optimise(
            torch.rand(2, 1, 3, side, side, generator=torch.Generator().manual_seed(1)),
            real,
            torch.ones(len(real)),
            iterations=1,
            planned_ipc=1,
            stream=0,
        )
    assert torch.equal(torch.get_rng_state(), before), "nothing is drawn from torch's own stream"
