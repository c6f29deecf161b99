from dataclasses import dataclass, field, replace

import pytest
import torch

from dasm.errors import ConfigError
from dasm.evaluate import Protocol, accuracy, correct, evaluate, labelled, teach
from dasm.networks import Classifier, Network
from dasm.networks.mlp import MLP
from dasm.train import Learner, Recipe
from tests.conftest import make_blobs
from tests.handmade import answering, one_hot_set

RECIPE = Recipe(batch_size=16, learning_rate=0.05, augmentation=(), cutmix=0.0)


@dataclass(frozen=True, kw_only=True)
class Watched(Network):
    """A network that remembers the weights it was built with."""

    built: list[dict] = field(default_factory=list)

    def build(self, image_shape, num_classes, stream) -> Classifier:
        network = MLP(width=4, depth=1).build(image_shape, num_classes, stream)
        self.built.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return network


def test_accuracy_is_the_share_of_right_answers():
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.0, 0.1, 0.2], [5.0, 0.0, 0.0]])
    assert accuracy(answering(logits), one_hot_set([0, 1, 2, 0])) == 1
    assert accuracy(answering(logits), one_hot_set([0, 1, 2, 1])) == 0.75
    assert accuracy(answering(logits), one_hot_set([1, 0, 0, 2], classes=3)) == 0


def test_a_network_that_has_diverged_answers_nothing():
    logits = torch.tensor([[2.0, 1.0], [torch.nan, 0.0], [0.0, torch.inf]])
    with pytest.raises(ConfigError, match=r"^protocol: logits .* must be finite, got 3 of 3 that are not \("):
        correct(answering(logits), one_hot_set([0, 0, 1]))


def test_a_set_is_judged_by_so_many_networks_on_validation_and_test_images(task):
    protocol = Protocol(recipe=RECIPE, steps=60, seeds=3)
    found = evaluate(protocol, MLP(width=16), [task.train], task, seed=0)
    assert [result.seed for result in found] == [0, 1, 2]
    assert all(result.test > 0.9 and result.validation > 0.9 for result in found)


def test_every_network_can_be_trained_again_without_augmentation(task):
    plain = Protocol(recipe=RECIPE, steps=4, seeds=2)
    rich = replace(plain, recipe=replace(RECIPE, augmentation=("crop", "color"), cutmix=0.5))
    network, set_of = MLP(width=8), [task.train]
    bare, augmented = (evaluate(each, network, set_of, task, seed=0) for each in (plain, rich))
    both = evaluate(replace(rich, unaugmented=True), network, set_of, task, seed=0)
    assert [replace(result, unaugmented=None) for result in both] == augmented
    # From the same weights and with the same batches as a benchmark that never augments.
    assert [result.unaugmented for result in both] == [result.test for result in bare]
    assert [result.test for result in bare] != [result.test for result in augmented]
    assert all(result.unaugmented is None for result in (*bare, *augmented))


def test_every_test_image_is_on_record(task):
    found = evaluate(Protocol(recipe=RECIPE, steps=2, seeds=2), MLP(width=4), [task.train], task, seed=0)
    assert all(len(result.right) == len(task.test) for result in found)
    assert all(result.test == pytest.approx(sum(result.right) / len(task.test)) for result in found)
    assert any(0 < result.test < 1 for result in found)
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.0, 0.1, 0.2], [5.0, 0.0, 0.0]])
    assert correct(answering(logits), one_hot_set([0, 1, 2, 1])).tolist() == [True, True, True, False]


def test_validation_and_test_are_not_mixed_up(task):
    wrong = task.test.labels.roll(8)
    swapped = type(task)(
        train=task.train,
        validation=task.validation,
        test=type(task.test)(
            images=task.test.images,
            labels=wrong,
            class_names=task.test.class_names,
            mean=task.test.mean,
            std=task.test.std,
        ),
    )
    (found,) = evaluate(Protocol(recipe=RECIPE, steps=60, seeds=1), MLP(width=16), [task.train], swapped, seed=0)
    assert found.validation > 0.9 and found.test < 0.1


def started(training, task, root=0):
    network = Watched()
    evaluate(Protocol(recipe=RECIPE, steps=1, seeds=2), network, [training], task, root)
    # The first network built for a seed is the one that is trained.
    return network.built[0], network.built[len(network.built) // 2]


def test_two_sets_are_judged_by_networks_that_start_from_the_same_weights(task):
    few = task.train.subset(torch.tensor([0, 20, 40]))
    for first, second in zip(started(task.train, task), started(few, task), strict=True):
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_seeds_and_roots_start_from_weights_of_their_own(task):
    starts = [*started(task.train, task, 0), *started(task.train, task, 1)]
    weights = [tuple(start["head.weight"].flatten().tolist()) for start in starts]
    assert len(set(weights)) == 4


def test_the_same_root_gives_the_same_accuracies(task):
    protocol = Protocol(recipe=RECIPE, steps=3, seeds=2)
    first, again = (evaluate(protocol, MLP(width=4), [task.train], task, seed=-5) for _ in range(2))
    assert first == again


def test_a_training_set_that_misses_a_class_is_refused(task):
    two = task.train.subset(torch.arange(32))
    with pytest.raises(ConfigError, match=r"^benchmark: the training set must hold every class, got none of \[2\]$"):
        evaluate(Protocol(recipe=RECIPE, steps=1, seeds=1), MLP(), [two], task, seed=0)


def test_a_training_set_that_is_not_of_the_task_is_refused(task):
    """What an importer of somebody else's set gets wrong."""
    train = task.train
    normalised = replace(train, images=(train.pixels() - 0.5) / 0.25)
    wrong = {
        "shape of the images of the training set must be": replace(train, images=train.images[..., :-1]),
        "classes of the training set must be": replace(train, class_names=(*train.class_names, "more")),
        r"training images must be pixels in \[0, 1\], got \d+ others \(normalised\?\)": normalised,
        "training images must be pixels": replace(train, images=torch.full_like(train.pixels(), torch.nan)),
    }
    for rule, data in wrong.items():
        with pytest.raises(ConfigError, match=f"^benchmark: {rule}"):
            evaluate(Protocol(recipe=RECIPE, steps=1, seeds=1), MLP(), [data], task, seed=0)


def sizes_learnt(monkeypatch, order, parts, task, steps=7):
    """How many images the network draws from at every step."""
    sizes, step = [], Learner.step
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", lambda self, data, *rest: sizes.append(len(data)) or step(self, data, *rest))
        evaluate(Protocol(recipe=RECIPE, steps=steps, seeds=1, order=order), MLP(width=4), parts, task, seed=0)
    return sizes


def test_shuffled_draws_from_the_whole_set_and_stagewise_from_ever_more_of_it(task, monkeypatch):
    parts = [make_blobs(size, size) for size in (2, 1, 3)]
    assert sizes_learnt(monkeypatch, "shuffled", parts, task) == [18] * 7
    assert sizes_learnt(monkeypatch, "stagewise", parts, task) == [6, 6, 6, 9, 9, 18, 18]


def test_a_set_in_one_part_is_judged_the_same_in_either_order(task):
    halves = [task.train.subset(torch.arange(30)), task.train.subset(torch.arange(30, 48))]
    shuffled, in_parts, stagewise = (
        evaluate(Protocol(recipe=RECIPE, steps=20, seeds=2, order=order), MLP(width=4), parts, task, seed=0)
        for order, parts in (("shuffled", [task.train]), ("shuffled", halves), ("stagewise", [task.train]))
    )
    assert shuffled == in_parts == stagewise


def test_every_class_may_come_from_another_part(task):
    parts = [task.train.subset(task.train.members(label)) for label in range(3)]
    protocol = Protocol(recipe=RECIPE, steps=60, seeds=1)
    assert evaluate(protocol, MLP(width=16), parts, task, seed=0)[0].test > 0.9
    with pytest.raises(ConfigError, match=r"got none of \[1\]$"):
        evaluate(protocol, MLP(width=16), [parts[0], parts[2]], task, seed=0)


@pytest.mark.parametrize(("option", "bound"), [("steps", ">= 1"), ("seeds", r"in \[1, 1e6\]")])
def test_a_protocol_that_trains_nothing_is_refused(option, bound):
    with pytest.raises(ConfigError, match=rf"^{option} must be {bound}, got 0$"):
        Protocol(**{"recipe": RECIPE, "steps": 1, "seeds": 1} | {option: 0})


def test_random_labels_give_chance_accuracy(task):
    data = make_blobs(60, 5)
    order = torch.randperm(180, generator=torch.Generator().manual_seed(0))
    shuffled = type(data)(
        images=data.images, labels=data.labels[order], class_names=data.class_names, mean=data.mean, std=data.std
    )
    judged = type(task)(train=data, validation=shuffled, test=shuffled)
    (found,) = evaluate(Protocol(recipe=RECIPE, steps=30, seeds=1), MLP(width=16), [data], judged, seed=0)
    assert found.test == pytest.approx(1 / 3, abs=0.12)


LOGITS = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.0, 0.1, 0.2]])
SOFT = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.4, 0.0], [0.1, 0.0, 0.9]])


def protocol(**more):
    return Protocol(**{"recipe": RECIPE, "steps": 60, "seeds": 1} | more)


def test_labels_are_those_that_the_protocol_wants():
    """Stored ones, classes, or a teacher's answers to the images as they are, whatever a set stores."""
    plain = one_hot_set([0, 1, 2])
    parts = [plain, replace(plain, targets=SOFT)]
    own, hard, teacher, warm = (
        labelled(protocol(**options), parts, answering(LOGITS))
        for options in ({}, {"labels": "hard"}, {"labels": "teacher"}, {"labels": "teacher", "temperature": 4.0})
    )
    assert own[0].targets is None and torch.equal(own[1].targets, SOFT)
    assert [part.targets for part in hard] == [None, None]
    for said, logits in ((teacher, LOGITS), (warm, LOGITS / 4)):
        for part in said:
            assert torch.allclose(part.targets, logits.exp() / logits.exp().sum(1, keepdim=True))
    for part in (*own, *hard, *teacher):
        assert torch.equal(part.labels, plain.labels) and torch.equal(part.images, plain.images)


def test_networks_learn_what_the_teacher_says_and_not_the_classes(task):
    """Of images whose classes are all wrong."""
    wrong = replace(task.train, labels=(task.train.labels + 1) % 3)
    teacher = teach(protocol(), MLP(width=16), task, seed=0)
    for options, right in (({}, False), ({"labels": "hard"}, False), ({"labels": "teacher"}, True)):
        (found,) = evaluate(protocol(**options), MLP(width=8), [wrong], task, seed=0, teacher=teacher)
        assert (found.test > 0.9) == right
    halves = [
        wrong.subset(torch.arange(24)),
        replace(wrong.subset(torch.arange(24, 48)), targets=torch.eye(3).repeat(8, 1)),
    ]
    (found,) = evaluate(protocol(labels="teacher"), MLP(width=8), halves, task, seed=0, teacher=teacher)
    assert found.test > 0.9, "one half stores soft labels"


def weights_of(network):
    return torch.cat([tensor.flatten() for tensor in network.parameters()])


def test_a_teacher_learns_all_real_images_by_the_recipe_from_a_start_of_its_own(task, monkeypatch):
    network = Watched()
    first, again, other = (weights_of(teach(protocol(steps=3), network, task, seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    teacher, *_ = network.built
    started_0, started_1 = started(task.train, task)
    assert not any(torch.equal(teacher["head.weight"], start["head.weight"]) for start in (started_0, started_1))
    asked = []
    monkeypatch.setattr(Learner, "step", lambda self, data, step, *_: asked.append((data, step)))
    teach(protocol(steps=5), MLP(), task, 0)
    teach(protocol(steps=5, teacher_steps=2), MLP(), task, 0)
    assert [step for _, step in asked] == [0, 1, 2, 3, 4, 0, 1] and all(data is task.train for data, _ in asked)


def test_labels_of_nobody_are_refused(task):
    with pytest.raises(ConfigError, match=r"^protocol: labels of a teacher need one, got None$"):
        evaluate(protocol(labels="teacher"), MLP(), [task.train], task, seed=0)
    diverged = answering(torch.full((3, 3), torch.nan))
    with pytest.raises(ConfigError, match=r"^protocol: logits of the teacher must be finite, got 3 of 3"):
        labelled(protocol(labels="teacher"), [one_hot_set([0, 1, 2])], diverged)
    with pytest.raises(ConfigError, match=r"^temperature must be > 0, got 0"):
        protocol(temperature=0.0)
    with pytest.raises(ConfigError, match=r"^teacher_steps must be >= 1, got 0$"):
        protocol(teacher_steps=0)
