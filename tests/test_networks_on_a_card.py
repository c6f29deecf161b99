"""Every network on the pretended card: a recorded training step, scores and a matching iteration, every augmentation.

What a card would refuse is refused (`tests.refused`), and the recorded step is run as it is recorded and replayed. On a
real card the same, twice, to the bit.
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

pytestmark = pytest.mark.deep

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


def case_id(case):
    return f"{variant_id(case[:2])}-{case[2]}"


@pytest.fixture
def card(monkeypatch):
    with pretended(monkeypatch), replaying(monkeypatch) as recorded:
        yield recorded


def worked(name, options, side):
    """Let a network learn, score and be matched on the card; return what came of each."""
    recipe = Recipe(batch_size=5, learning_rate=0.01, augmentation=ALL, cutmix=0.5)
    trainer = Trainer(network=made(name, **TINY.get(name, {}) | options), recipe=recipe)
    real = make_blobs(4, 0, classes=2, side=side, channels=3).to("cuda")
    before = torch.get_rng_state()
    learner = trainer.start(real, 0)
    first = [value.cpu().clone() for value in learner.network.parameters()]
    learner.steps(real, 0, 3, 5, 0.01)
    assert any(not torch.equal(a, b.cpu()) for a, b in zip(first, learner.network.parameters(), strict=True))
    scores = predict(learner.network, real), embed(learner.network, real)
    assert all(score.is_cuda for score in scores)
    # A network without a convolution is matched by all its weights.
    gradient = Gradient(real_batch=2, network_images=5, augmentation=ALL)
    kinds = [DM(real_batch=2, augmentation=("one", *ALL))]
    kinds.append(DC(real_batch=2, outer=2, inner=1) if name == "mlp" else gradient)
    pixels = [
        Matching(objective=objective, trainer=trainer, factor=2).optimise(
            torch.rand(2, 1, 3, side, side, generator=torch.Generator().manual_seed(1)),
            real,
            torch.ones(len(real)),
            iterations=1,
            planned_ipc=1,
            stream=0,
        )[0]
        for objective in kinds
    ]
    assert torch.equal(torch.get_rng_state(), before), "nothing is drawn from torch's own stream"
    return [value.cpu() for value in (*learner.network.parameters(), *scores, *pixels)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a real card")
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_a_network_learns_scores_and_is_matched(card, case):
    worked(*case)
    assert card[:2] == [5, 3], "whole batches, and the last one of an epoch"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_on_a_gpu_it_does_so_to_the_bit(case):
    before = torch.cuda.get_rng_state()
    first, second = worked(*case), worked(*case)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(torch.cuda.get_rng_state(), before)
