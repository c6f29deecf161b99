"""A matching iteration at the sizes of the field, ready to be run as often as it is wanted."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch

from dasm import rng
from dasm.augment import Operation
from dasm.networks.convnet import ConvNet
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.objectives import Surroundings
from dasm.objectives.gradient import Gradient
from dasm.train import Recipe, Trainer
from dasm.types import LabelledImages


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A study's sizes.

    Attributes:
        turns: classes that are matched in one measured repeat on a CPU; all of them where it is None.
    """

    classes: int
    shape: tuple[int, int, int]
    ipc: int
    factor: int
    width: int = 128
    depth: int = 3
    real_batch: int = 64
    metric: str = "mse"
    augmentation: tuple[Operation, ...] = ("color", "crop", "cutout")
    turns: int | None = None


SETTINGS = {
    "digits": Setting(
        classes=10,
        shape=(1, 8, 8),
        ipc=5,
        factor=1,
        width=32,
        depth=2,
        real_batch=32,
        metric="l1",
        augmentation=("color", "crop"),
    ),
    "cifar10-ipc10": Setting(classes=10, shape=(3, 32, 32), ipc=10, factor=2),
    "cifar10-ipc50": Setting(classes=10, shape=(3, 32, 32), ipc=50, factor=2, turns=4),
    "cifar100-ipc10": Setting(classes=100, shape=(3, 32, 32), ipc=10, factor=2, turns=4),
    "tiny-imagenet-ipc10": Setting(classes=200, shape=(3, 64, 64), ipc=10, factor=2, depth=4, turns=1),
}


def noise(setting: Setting, per_class: int, device: str) -> LabelledImages:
    """Return a set of random images: time does not depend on what they show."""
    generator = torch.Generator().manual_seed(0)
    count = setting.classes * per_class
    images = torch.randint(0, 256, (count, *setting.shape), generator=generator, dtype=torch.uint8)
    channels = setting.shape[0]
    return LabelledImages(
        images=images,
        labels=torch.arange(setting.classes).repeat_interleave(per_class),
        class_names=tuple(str(c) for c in range(setting.classes)),
        mean=torch.full((channels,), 0.5),
        std=torch.full((channels,), 0.25),
    ).to(device)


def trainer(setting: Setting) -> Trainer:
    """Return the trainer of a setting's matching networks, with IDC's recipe for them."""
    # As torch rounds unless told otherwise, and so the reference; on a CPU nothing is rounded.
    recipe = Recipe(augmentation=("color", "crop"), cutmix=0.0 if setting.shape[0] == 1 else 0.5, precision="tf32")
    return Trainer(network=ConvNet(width=setting.width, depth=setting.depth), recipe=recipe)


class Iteration(NamedTuple):
    """A matching iteration without the network's own steps (pixels' gradients of the classes, and their update).

    Attributes:
        run: does it once.
        objective: of the matching.
        real: images that are matched.
        start: pixels before the first one.
    """

    run: Callable[[], None]
    objective: Gradient
    real: LabelledImages
    start: torch.Tensor


def iteration(setting: Setting, device: str, turns: int | None = None) -> Iteration:
    """Set an iteration up that matches so many classes; all of them unless said otherwise."""
    real = noise(setting, 2 * setting.real_batch, device)
    objective = Gradient(
        metric=setting.metric, real_batch=setting.real_batch, network_images=0, augmentation=setting.augmentation
    )
    start = torch.rand(setting.classes, setting.ipc, *setting.shape, generator=torch.Generator().manual_seed(1)).to(
        device
    )
    pixels = [images.clone().requires_grad_() for images in start]
    optimiser = objective.rule.start(pixels, setting.ipc, setting.classes, real.std)
    state = objective.prepare(real, trainer(setting), 0, Surroundings())
    batches = RealBatches(data=real, weights=torch.ones(len(real), device=device), stream=1)
    synthetic = SyntheticBatches(pixels=pixels, factor=setting.factor, mean=real.mean, std=real.std, stream=2)
    numbers: Iterator[int] = iter(range(1, 1 << 30))

    def run() -> None:
        number = next(numbers)
        optimiser.before()
        distances = objective.distances(state, batches, synthetic, number, rng.derive(3, number))
        for distance in islice(distances, turns):
            optimiser.accumulate(distance)
        optimiser.step()

    return Iteration(run, objective, real, start)
