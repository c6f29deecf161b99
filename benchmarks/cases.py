"""The pieces of work that are measured, at the sizes of the field."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median

import torch

from benchmarks.iteration import SETTINGS, iteration, noise, trainer
from benchmarks.measure import Row, compare
from benchmarks.reference import ReferenceMatching, ReferenceTraining, bare_forward
from dasm.evaluate import Protocol, evaluate
from dasm.matching import Matching
from dasm.networks import predict
from dasm.objectives.gradient import Gradient
from dasm.types import Task


def matching(name: str, repeats: int, device: str) -> Row:
    """One matching iteration."""
    setting = SETTINGS[name]
    turns = setting.classes if device == "cuda" or setting.turns is None else setting.turns
    ours, objective, real, start = iteration(setting, device, turns)
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
