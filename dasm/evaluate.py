"""The benchmark: fresh networks trained on a set, accuracy on real images at the last step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

from jaxtyping import Bool, Int64
from torch import Tensor

from dasm import rng
from dasm.errors import ConfigError, at_least, require, within
from dasm.networks import Classifier, Network, finite, predict
from dasm.steps.together import Training, train_all
from dasm.train import Recipe, Trainer
from dasm.types import LabelledImages, Task, join, prefixes


@final
@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How every set is judged: the same steps, recipe and seeds for synthetic, coreset and full data.

    Attributes:
        recipe: of every network.
        steps: optimiser steps, >= 1, the same for a set of 10 images and for the full data.
        seeds: networks trained per set and architecture, in [1, 1e6].
        order: `shuffled` draws batches from the whole set; `stagewise` trains on its first segment, then on the first
            two, and so on, with an equal share of the steps each. SeqMatch (arXiv 2311.01570) and PDD (2310.06982)
            report the latter; a gain that exists only stage by stage is one of training, not of the images (R18).
        training: of the seeds of one architecture. `loop` is one after another, `together` all side by side; `auto` is
            `together` on a GPU for networks whose layers allow it (`dasm.steps.together`). The results are the same up
            to the order of sums.
        labels: what networks learn to say of an image, the same for all sets and for the full data (R17). `own` is what
            a set stores: its classes, or soft labels where an objective made them; `hard` is the class, whatever is
            stored; `teacher` is the answer of one network that has learnt all real training images. What soft labels
            are worth is then given to random images as well ("A Label is Worth a Thousand Images", arXiv 2406.10485).
        teacher_steps: optimiser steps of that network on the real images, >= 1; None: as many as `steps`.
        temperature: of its answers, > 0; they are one distribution per image, without augmentation.
        unaugmented: whether each network is trained a second time, from the same weights but with neither augmentation
            nor CutMix: what DD-Ranking's augmentation-robust score asks (arXiv 2505.13300). It costs as much again.
    """

    recipe: Recipe
    steps: int
    seeds: int
    order: Literal["shuffled", "stagewise"] = "shuffled"
    training: Training = "auto"
    labels: Literal["own", "hard", "teacher"] = "own"
    teacher_steps: int | None = None
    temperature: float = 1.0
    unaugmented: bool = False

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        at_least(self, 1, "steps", "teacher_steps")
        within(self, "[1, 1e6]", "seeds")
        require(self.temperature > 0, "temperature must be > 0", self.temperature)


@final
@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """What one network classifies correctly after its last step.

    Attributes:
        seed: number of the network.
        validation: share of the validation images, in [0, 1].
        test: share of the test images, in [0, 1].
        right: whether each test image is classified correctly, in data order.
        unaugmented: `test` of the second training, without augmentation; None where there is none.
    """

    seed: int
    validation: float
    test: float
    right: tuple[bool, ...]
    unaugmented: float | None = None


def accuracy(network: Classifier, data: LabelledImages) -> float:
    """Return the share of images that the network classifies correctly, in [0, 1]."""
    return float(correct(network, data).double().mean())


def correct(network: Classifier, data: LabelledImages) -> Bool[Tensor, " n"]:
    """Return whether the network classifies each image correctly.

    Raises:
        ConfigError: the network has diverged, and answers nothing.
    """
    logits = finite(predict(network, data), "protocol: logits of a trained network")
    return logits.argmax(1).eq(data.labels)


def judge(protocol: Protocol, network: Network, task: Task, seed: int) -> Callable[[Int64[Tensor, "k t"]], float]:
    """Return a function that trains one network on chosen real images and gives its accuracy on `validation`.

    The network starts from the same weights whatever the images, and from other ones than those of the benchmark. It
    learns their classes, whatever labels the benchmark gives to sets.
    """
    trainer = Trainer(network=network, recipe=protocol.recipe)

    def accuracy_of(rows: Int64[Tensor, "k t"]) -> float:
        chosen = task.train.subset(rows.flatten().to(task.train.labels.device))
        (trained,) = trainer.train(chosen, protocol.steps, rng.derive(seed, "judge"))
        return accuracy(trained, task.validation)

    return accuracy_of


def teach(protocol: Protocol, network: Network, task: Task, seed: int) -> Classifier:
    """Train the network whose answers `labelled` gives to every set: by the protocol's recipe, on all real images."""
    trainer = Trainer(network=network, recipe=protocol.recipe)
    steps = protocol.teacher_steps or protocol.steps
    return trainer.train(task.train, steps, rng.derive(seed, "benchmark", "teacher"))[0]


def labelled(
    protocol: Protocol, parts: Sequence[LabelledImages], teacher: Classifier | None
) -> Sequence[LabelledImages]:
    """Return sets of images with the labels that the protocol wants networks to learn.

    Raises:
        ConfigError: these are the answers of a teacher, and there is none, or it has diverged.
    """
    if protocol.labels == "own":
        return parts
    if protocol.labels == "hard":
        return [replace(part, targets=None) for part in parts]
    if teacher is None:
        raise ConfigError("protocol: labels of a teacher need one, got None")
    what = "protocol: logits of the teacher"
    answers = (finite(predict(teacher, part), what) / protocol.temperature for part in parts)
    return [replace(part, targets=logits.softmax(1)) for part, logits in zip(parts, answers, strict=True)]


def _check_alike(training: LabelledImages, test: LabelledImages) -> None:
    for what, held in (("shape of the images", "image_shape"), ("classes", "class_names")):
        wanted, given = getattr(test, held), getattr(training, held)
        require(
            given == wanted, f"benchmark: {what} of the training set must be {wanted}, those of the test set", given
        )
    if training.images.is_floating_point():
        wrong = int((~((training.images >= 0) & (training.images <= 1))).sum())
        if wrong:
            raise ConfigError(f"benchmark: training images must be pixels in [0, 1], got {wrong} others (normalised?)")


def evaluate(
    protocol: Protocol,
    network: Network,
    parts: Sequence[LabelledImages],
    task: Task,
    seed: int,
    teacher: Classifier | None = None,
) -> list[Accuracy]:
    """Train one architecture several times on a set.

    Network number s starts from the same weights whatever the set, so that two sets can be compared pair by pair.

    Args:
        protocol: how.
        network: architecture.
        parts: decoded training images, segment by segment; a set without segments is a single part.
        task: its validation and test images are looked at once, after the last step.
        seed: root seed; any integer.
        teacher: what `teach` returned, of whatever architecture, where the protocol wants its labels.

    Raises:
        ConfigError: the training set misses a class, has other classes or images of another shape than the task, or
            pixels outside of [0, 1]; a network has diverged; there is no teacher, and labels are to be its answers.
    """
    parts = labelled(protocol, parts, teacher)
    *before, training = prefixes(parts) if protocol.order == "stagewise" else [join(parts)]
    _check_alike(training, task.test)
    missing = set(range(training.num_classes)) - set(training.labels.tolist())
    if missing:
        raise ConfigError(f"benchmark: the training set must hold every class, got none of {sorted(missing)}")
    streams = [rng.derive(seed, "benchmark", number) for number in range(protocol.seeds)]

    def trained(recipe: Recipe) -> list[Classifier]:
        trainer = Trainer(network=network, recipe=recipe)
        every = train_all(trainer, training, protocol.steps, streams, before=before, training=protocol.training)
        return [classifier for (classifier,) in every]

    found = []
    for number, classifier in enumerate(trained(protocol.recipe)):
        right = correct(classifier, task.test)
        found.append(
            Accuracy(
                seed=number,
                validation=accuracy(classifier, task.validation),
                test=float(right.double().mean()),
                right=tuple(right.tolist()),
            )
        )
    if protocol.unaugmented:
        plain = trained(replace(protocol.recipe, augmentation=(), cutmix=0.0))
        found = [
            replace(result, unaugmented=accuracy(classifier, task.test))
            for result, classifier in zip(found, plain, strict=True)
        ]
    return found
