"""Every network on the pretended card: a recorded training step, scores and a matching iteration, every augmentation.

What a card would refuse is refused (`tests.refused`), and the recorded step is run as it is recorded and replayed.
"""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from dasm.matching import Matching
from dasm.networks import embed, predict
from dasm.objectives.dc import DC
from dasm.objectives.dm import DM
from dasm.objectives.gradient import Gradient
from dasm.stepper import Stepper
from dasm.train import Recipe, Trainer
from dasm.types import LabelledImages
from tests.conftest import make_blobs
from tests.networks.versions import VARIANTS, made, variant_id
from tests.pretended import OnCard, pretended, recording
from tests.test_capture import stand_in

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
OTHER_STEMS = {"alexnet", "convnext", "densenet", "efficientnet", "resnet", "resnet_ap", "vit"}
CASES = [(name, options, 32) for name, options in VARIANTS]
CASES += [(name, options, 224) for name, options in VARIANTS if name in OTHER_STEMS]


@pytest.fixture
def card(monkeypatch):
    """A card, and in place of a CUDA graph the step that was recorded."""
    with pretended(monkeypatch):
        yield


@contextmanager
def recorded(graph):
    """Refuse what a graph cannot hold; nothing runs while one is recorded, so everything is put back."""
    stepper = graph.stepper
    with stepper._put_back(), recording():
        yield
