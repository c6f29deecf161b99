"""What each of several processes does in `test_ranks.py`; pytest's hooks are not in force there."""

import datetime
import os
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from dasm.errors import ConfigError
from dasm.machine import ranks
from dasm.matching import Matching
from dasm.networks.convnet import ConvNet
from dasm.objectives.cafe import CAFE
from dasm.objectives.dc import DC
from dasm.objectives.dm import DM
from dasm.objectives.dsa import DSA
from dasm.objectives.gradient import Gradient
from dasm.storage.checkpoint import Checkpoint
from dasm.train import Recipe, Trainer
from tests.conftest import make_blobs

_LOOP = {"real_batch": 8, "inner_iterations": 3, "network_images": 16, "metric": "l1"}
_INNER = {"real_batch": 8, "outer": 3, "inner": 1}
_ONE = ("one", "flip", "color", "crop", "scale")
OBJECTIVES = {
    "batched": Gradient(**_LOOP, synthetic_batch=3),
    "loop": Gradient(**_LOOP, classes="loop"),
    "dc": DC(**_INNER),
    "dsa": DSA(**_INNER, augmentation=_ONE),
    "dm": DM(real_batch=8, augmentation=_ONE),
}
REFUSED = {
    "cafe": CAFE(),
    "gradient": Gradient(sampler="representative"),
    "dsa": DSA(sampler="representative"),
    "dm": DM(augmentation=()),  # in a batch-normalised network
}


def optimise(objective, norm="instance", iterations=5, classes=3, **more):
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    recipe = Recipe(batch_size=16, learning_rate=0.05, augmentation=("color", "crop"), cutmix=0.5)
    trainer = Trainer(network=ConvNet(width=4, depth=2, norm=norm), recipe=recipe)
    blobs = make_blobs(16, seed=0, classes=classes)
    data = replace(blobs, images=blobs.images / 255, mean=blobs.mean.double(), std=blobs.std.double())
    initial = torch.rand(classes, 2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    options = {"patience": more.pop("patience", None), "tolerance": 0.9}
    matching = Matching(objective=objective, trainer=trainer, learning_rate=0.1, **options)
    weights = torch.ones(len(data))
    found = matching.optimise(initial, data, weights, iterations=iterations, planned_ipc=10, stream=4, **more)
    torch.set_default_dtype(torch.float32)
    return found


def refusal(objective, norm="instance"):
    try:
        optimise(objective, norm)
    except ConfigError as error:
        return str(error)
    return "not refused"


def work(rank, count, folder):
    """Join the others, do everything, and leave in `folder` what came of it."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    # A process that waits for one that has died gives up before the test does.
    wait = datetime.timedelta(seconds=60)
    dist.init_process_group("gloo", f"file://{folder}/meeting", wait, world_size=count, rank=rank)
    found = {name: optimise(objective) for name, objective in OBJECTIVES.items()}
    found["5 classes"] = optimise(OBJECTIVES["batched"], classes=5)
    found["stopped"] = optimise(OBJECTIVES["batched"], iterations=30, patience=3)
    own = Path(folder) / f"{rank}.safetensors"
    optimise(OBJECTIVES["batched"], checkpoint=Checkpoint(own, every_seconds=0.0))
    said = {name: refusal(objective, "batch" if name == "dm" else "instance") for name, objective in REFUSED.items()}
    mine = [list(ranks.mine(classes)) for classes in (1, 3, 10)]
    apart = resumed_apart(own)
    torch.save({"found": found, "said": said, "mine": mine, "apart": apart}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def resumed_apart(own):
    """Say what happens when the first process goes on from a checkpoint that the second does not see."""
    try:
        optimise(OBJECTIVES["batched"], checkpoint=Checkpoint(own))
    except ConfigError as error:
        return str(error)
    return "went on"
