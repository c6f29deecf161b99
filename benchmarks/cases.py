"""The pieces of work that are measured, at the sizes of the field."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from statistics import median

import torch

from benchmarks.measure import Row, compare
from benchmarks.reference import ReferenceMatching, ReferenceTraining, bare_forward
from dasm import rng
from dasm.augment import Operation
from dasm.evaluate import Protocol, evaluate
from dasm.matching import Matching
from dasm.networks import predict
from dasm.networks.convnet import ConvNet
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.objectives import Surroundings
from dasm.objectives.gradient import Gradient
from dasm.train import Recipe, Trainer
from dasm.types import LabelledImages, Task


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
    recipe = Recipe(augmentation=("color", "crop"), cutmix=0.0 if setting.shape[0] == 1 else 0.5)
    return Trainer(network=ConvNet(width=setting.width, depth=setting.depth), recipe=recipe)


def matching(name: str, repeats: int, device: str) -> Row:
    """One matching iteration without the network's own steps: pixels' gradients of the classes, and their update."""
    setting = SETTINGS[name]
    turns = setting.classes if device == "cuda" or setting.turns is None else setting.turns
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

    def ours() -> None:
        iteration = next(numbers)
        optimiser.before()
        distances = objective.distances(state, batches, synthetic, iteration, rng.derive(3, iteration))
        for distance in islice(distances, turns):
            optimiser.accumulate(distance)
        optimiser.step()

    network = trainer(setting).start(real, 0).network
    reference = ReferenceMatching(
        network,
        real,
        start,
        factor=setting.factor,
        real_batch=setting.real_batch,
        synthetic_batch=objective.synthetic_batch,
        metric=setting.metric,
        augmentation=setting.augmentation,
    )
    part = f"{turns} of {setting.classes} classes" if turns < setting.classes else f"all {turns} classes"
    return compare(
        f"match {name}",
        {"ours": ours},
        reference=lambda: reference.iteration(turns),
        repeats=repeats,
        device=device,
        note=part,
    )


def network_step(name: str, repeats: int, device: str) -> Row:
    """Steps of the matching network on 64 real images each."""
    setting = SETTINGS[name]
    real = noise(setting, 128, device)
    learner = trainer(setting).start(real, 0)
    reference = ReferenceTraining(
        trainer(setting).start(real, 0).network, real, batch_size=64, augmentation=("color", "crop")
    )
    steps = 20 if name == "digits" or device == "cuda" else 2
    numbers = iter(range(0, 1 << 30, steps))
    return compare(
        f"steps {name}",
        {"ours": lambda: learner.steps(real, next(numbers), steps, 0, 0.01)},
        reference=lambda: reference.steps(steps),
        repeats=repeats,
        device=device,
        note=f"{steps} steps of 64 images",
    )


def scoring(name: str, repeats: int, device: str) -> Row:
    """Logits of real images from 8 bits on, against a bare forward pass of images that lie ready as numbers."""
    setting = SETTINGS[name]
    count = 100_000 if device == "cuda" else 1_000
    real = noise(setting, max(1, count // setting.classes), device)
    network = trainer(setting).start(real, 0).network.eval()
    inputs = real.inputs()
    return compare(
        f"score {name}",
        {"ours": lambda: predict(network, real)},
        reference=lambda: bare_forward(network, inputs),
        repeats=repeats,
        device=device,
        note=f"{len(real)} images; the reference is a bare forward pass",
    )


def evaluation(name: str, repeats: int, device: str) -> Row:
    """Five networks trained on a synthetic set and tested, against one plain training after another."""
    setting = SETTINGS[name]
    decoded = noise(setting, setting.ipc * setting.factor**2, device)
    test = noise(setting, max(1, 500 // setting.classes), device)
    task = Task(train=decoded, validation=test, test=test)
    steps = 20 if name == "digits" else 200 if device == "cuda" else 2
    used = trainer(setting)
    protocol = Protocol(recipe=used.recipe, steps=steps, seeds=5)
    ours, loop = (
        partial(evaluate, replace(protocol, training=training), used.network, [decoded], task, 0)
        for training in ("auto", "loop")
    )

    def reference() -> None:
        for seed in range(5):
            network = used.start(decoded, seed).network
            ReferenceTraining(network, decoded, batch_size=64, augmentation=("color", "crop")).steps(steps)
            for part in (test, test):
                bare_forward(network, part.inputs())

    return compare(
        f"evaluate {name}",
        {"ours": ours, "loop": loop} if device == "cuda" else {"ours": ours},
        reference=reference,
        repeats=repeats,
        device=device,
        note=f"5 seeds, {steps} steps, 2 x {len(test)} test images",
    )


def recipe(name: str, repeats: int, device: str) -> Row:
    """Iterations of IDC's whole recipe: the pixels' gradients of all classes, their update, the network's own steps."""
    setting = SETTINGS[name]
    real = noise(setting, 500 if device == "cuda" else 100, device)
    used = Gradient(
        metric=setting.metric,
        real_batch=setting.real_batch,
        network_images=500 if name == "digits" else 2000,
        augmentation=setting.augmentation,
    )
    # By counting, 200 classes of 64 x 64 are 40 TFLOP an iteration: a hundred, several times, outlast a call there.
    many = 100 if setting.classes <= 100 else 20
    count = many if device == "cuda" else 5 if name == "digits" else 1
    whole = Matching(objective=used, trainer=trainer(setting), factor=setting.factor)
    start = torch.rand(setting.classes, setting.ipc, *setting.shape, generator=torch.Generator().manual_seed(1))
    weights = torch.ones(len(real))
    row = compare(
        f"recipe {name}",
        {"ours": lambda: whole.optimise(start, real, weights, iterations=count, planned_ipc=setting.ipc, stream=0)},
        repeats=repeats,
        device=device,
    )
    hours = median(row.ways["ours"].seconds) / count * _RECIPE / 3600
    return replace(
        row, note=f"{count} iterations with {used.network_images} images each; {_RECIPE} would take {hours:.2g} h"
    )


# IDC's 2000 networks with 100 pixel updates each.
_RECIPE = 200_000

CASES: dict[str, Callable[[str, int, str], Row]] = {
    "match": matching,
    "steps": network_step,
    "score": scoring,
    "evaluate": evaluation,
    "recipe": recipe,
}
