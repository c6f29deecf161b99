"""Expert trajectories: how they are trained, how they are kept, and how stages and the method use them."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from torch import nn

from dasm import rng
from dasm.errors import ConfigError
from dasm.evaluators import Evaluators
from dasm.experts import Experts
from dasm.matching import Matching
from dasm.networks.mlp import MLP
from dasm.objectives.mtt import MTT
from dasm.segments import SegmentPlan
from dasm.sequential import Sequential
from dasm.storage.trajectories import Trajectories, write_trajectories
from dasm.tables import read_chain, read_segments, segment_files, write_difficulty
from dasm.train import Learner, Recipe, Trainer
from pipeline import layout
from pipeline.work import distillation
from pipeline.work import experts as stage
from tests.handmade import difficulty_of

STATM = Path("/proc/self/statm")
RECIPE = Recipe(batch_size=20, learning_rate=0.05, momentum=0.0, weight_decay=0.0, augmentation=("color",), cutmix=0.0)
TRAINER = Trainer(network=MLP(width=4, depth=1), recipe=RECIPE)


def experts(**options):
    return Experts(**{"trainer": TRAINER, "number": 2, "epochs": 3, "prefix_steps": 5, **options})


def ones(data):
    return torch.ones(len(data))


def flat(network):
    return nn.utils.parameters_to_vector(network.parameters()).detach()


def all_equal(first, second):
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_trajectories_depend_on_seed_and_state_alone(blobs):
    whole = list(experts().train(blobs, ones(blobs), 1, seed=3))
    torch.manual_seed(9)
    assert all_equal(whole, list(experts().train(blobs, ones(blobs), 1, seed=3)))
    for state, seed in ((0, 3), (1, 4)):
        other = list(experts().train(blobs, ones(blobs), state, seed))
        assert not any(torch.equal(a, b) for a, b in zip(whole, other, strict=True))
    assert not torch.equal(*whole)


def test_an_expert_is_the_same_however_many_there_are(blobs):
    assert torch.equal(
        list(experts(number=3).train(blobs, ones(blobs), 0, 0))[1], list(experts().train(blobs, ones(blobs), 0, 0))[1]
    )


def test_experts_come_one_by_one(blobs, monkeypatch):
    calls = []
    step = Learner.step
    monkeypatch.setattr(Learner, "step", lambda self, *a: (calls.append(1), step(self, *a))[1])
    following = experts(epochs=1).train(blobs, ones(blobs), 0, 0)
    assert calls == []
    next(following)
    assert len(calls) == 3, "48 images in batches of 20"


def test_every_epoch_shows_every_image_of_the_window_once(blobs, monkeypatch):
    seen = []
    cutmix = "dasm.train._cutmix"
    monkeypatch.setattr(cutmix, lambda images, labels, *_: (seen.append(images.clone()), (images, labels, 1.0))[1])
    weights = ones(blobs)
    weights[::3] = 0
    plain = experts(number=1, trainer=replace(TRAINER, recipe=replace(RECIPE, augmentation=())))
    (trajectory,) = plain.train(blobs, weights, 0, 0)
    assert [len(batch) for batch in seen] == [20, 12] * 3
    wanted = {image.numpy().tobytes() for image in blobs.inputs(torch.nonzero(weights).flatten())}
    epochs = [[x.numpy().tobytes() for batch in seen[i : i + 2] for x in batch] for i in (0, 2, 4)]
    assert all(len(epoch) == 32 and set(epoch) == wanted for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2], "in an order of its own"
    assert len(trajectory) == 4


def test_rows_are_the_start_and_the_weights_after_every_epoch(blobs):
    (trajectory,) = experts(number=1).train(blobs, ones(blobs), 2, 5)
    stream = rng.derive(5, "expert", 2, 0)
    learner = TRAINER.start(blobs, stream)
    assert torch.equal(trajectory[0], flat(learner.network))
    for step in range(9):
        learner.step(blobs, step, rng.derive(stream, "epochs"), RECIPE.rate(step, 9))
        if step % 3 == 2:
            assert torch.equal(trajectory[step // 3 + 1], flat(learner.network))


def test_images_outside_the_window_can_change_without_a_trace(blobs):
    weights = ones(blobs)
    weights[1::2] = 0
    images = blobs.images.clone()
    images[1::2] = 255 - images[1::2]
    other = replace(blobs, images=images)
    for soft in (False, True):
        if soft:
            weights[::4] = 3
        a, b = (list(experts().train(data, weights, 0, 0)) for data in (blobs, other))
        assert all_equal(a, b)
    assert not all_equal(*(list(experts().train(data, ones(blobs), 0, 0)) for data in (blobs, other)))


def test_a_soft_window_shows_images_in_proportion_to_their_weights(blobs, monkeypatch):
    counts = torch.zeros(len(blobs))
    numbers = {image.numpy().tobytes(): i for i, image in enumerate(blobs.images)}

    def count(_, data, step, *__):
        for image in data.images if step % 3 == 0 else ():
            counts[numbers[image.numpy().tobytes()]] += 1

    monkeypatch.setattr(Learner, "step", count)
    weights = ones(blobs)
    weights[:24], weights[24] = 3, 0
    list(experts(number=1, epochs=200).train(blobs, weights, 0, 0))
    assert counts.sum() == 200 * 47 and counts[24] == 0
    assert counts[:24].mean() / counts[25:].mean() == pytest.approx(3, rel=0.05)


def test_experts_go_on_from_networks_trained_on_the_prefix(blobs):
    prefix = blobs.subset(torch.tensor([0, 1, 20, 21, 40, 41]))
    fast = replace(RECIPE, learning_rate=0.5, momentum=0.9)
    following = experts(number=2, epochs=1, prefix_recipe=fast)
    starts = [trajectory[0] for trajectory in following.train(blobs, ones(blobs), 1, 0, prefix)]
    for number, start in enumerate(starts):
        stream = rng.derive(0, "expert", 1, number)
        learner = Trainer(network=TRAINER.network, recipe=fast).start(blobs, stream)
        fresh = flat(learner.network)
        for step in range(5):
            learner.step(prefix, step, rng.derive(stream, "prefix"), fast.rate(step, 5))
        assert torch.equal(start, flat(learner.network)) and not torch.equal(start, fresh)
        without = list(following.train(blobs, ones(blobs), 1, 0))[number]
        assert torch.equal(without[0], fresh)
    own = next(experts(epochs=1).train(blobs, ones(blobs), 1, 0, prefix))[0]
    assert not torch.equal(own, starts[0]), "without a recipe for the prefix, the trainer's"
    still = list(experts(epochs=1, prefix_steps=0).train(blobs, ones(blobs), 1, 0, prefix))
    assert all_equal(still, list(experts(epochs=1).train(blobs, ones(blobs), 1, 0)))


@pytest.mark.parametrize(("option", "value"), [("number", 0), ("epochs", 0), ("prefix_steps", -1)])
def test_values_out_of_range_are_refused(option, value):
    with pytest.raises(ConfigError, match=rf"^{option} must be"):
        experts(**{option: value})


def test_the_papers_numbers_are_the_defaults():
    assert asdict(Experts(trainer=TRAINER, prefix_steps=0)).items() >= {"number": 100, "epochs": 50}.items()


def test_trajectories_come_back_bit_for_bit_in_their_order(tmp_path):
    written = [torch.randn(3, 5, generator=torch.Generator().manual_seed(i)) for i in range(12)]
    assert write_trajectories(tmp_path, iter(written)) == 12
    found = Trajectories(tmp_path)
    assert all_equal(list(found), written)
    assert torch.equal(found[10], written[10]) and torch.equal(found[-1], written[-1])


def test_trajectories_are_written_as_they_come(tmp_path):
    def coming():
        yield torch.zeros(2, 2)
        assert [file.name for file in tmp_path.iterdir()] == ["e0.safetensors"]
        yield torch.ones(2, 2)

    assert write_trajectories(tmp_path, coming()) == 2


def test_a_trajectory_is_read_only_when_somebody_looks(tmp_path):
    write_trajectories(tmp_path, [torch.zeros(2, 2), torch.ones(2, 2)])
    (tmp_path / "e1.safetensors").write_bytes(b"nothing")
    found = Trajectories(tmp_path)
    assert len(found) == 2 and torch.equal(found[0], torch.zeros(2, 2))
    with pytest.raises(ConfigError, match=rf"^{tmp_path}/e1.safetensors: must be an expert trajectory \(.+\)$"):
        found[1]


@pytest.mark.skipif(not STATM.exists(), reason="only Linux says what is resident")
def test_only_the_rows_in_use_come_into_memory(tmp_path):
    def resident():
        return int(STATM.read_text().split()[1]) * 4096

    write_trajectories(tmp_path, [torch.ones(16, 1_000_000)])
    found = Trajectories(tmp_path)[0]
    before = resident()
    row = found[3].clone()
    assert row.sum() == 1_000_000
    assert resident() - before < 24_000_000, "of 64 MB"


def test_a_folder_without_trajectories_is_named(tmp_path):
    with pytest.raises(ConfigError, match=rf"^{tmp_path}/x: must hold expert trajectories, got none$"):
        Trajectories(tmp_path / "x")


MATCHING = Matching(
    objective=MTT(student_steps=2, expert_epochs=1, max_start_epoch=2, augmentation=()),
    trainer=TRAINER,
    factor=1,
    learning_rate=5.0,
)


def sequential(following, matching=MATCHING):
    evaluators = Evaluators(trainer=TRAINER, networks=1, steps=1, teacher_steps=1)
    return Sequential(matching=matching, evaluators=evaluators, selection=None, planned_ipc=2, experts=following)


def test_the_method_trains_the_experts_of_every_segment(blobs, monkeypatch):
    seen = []
    train = Experts.train
    monkeypatch.setattr(Experts, "train", lambda self, *a: (seen.append(a), train(self, *a))[1])
    plans = [SegmentPlan(ipc=1, iterations=2)] * 2
    segments = list(sequential(experts()).distil(blobs, plans, seed=3))
    assert [(state, seed) for _, _, state, seed, _ in seen] == [(0, 3), (1, 3)]
    assert seen[0][4] is None and len(seen[1][4]) == 3
    assert all(segment.learned_rate not in (None, 0.01) for segment in segments)
    assert segments[0].learned_rate != segments[1].learned_rate
    with pytest.raises(ConfigError, match=r"^experts must be given for mtt, got None$"):
        list(sequential(None).distil(blobs, plans, seed=3))


@pytest.fixture
def project(task, tmp_path, monkeypatch):
    """The parameters of a study without params.yaml, in an empty project whose real images are those of the task."""
    monkeypatch.chdir(tmp_path)
    recipe = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(RECIPE).items()}
    trainer = {"network": {"name": "mlp", "width": 4, "depth": 1}, "recipe": recipe}
    objective = {"name": "mtt", "student_steps": 2, "expert_epochs": 1, "max_start_epoch": 2, "augmentation": []}
    study = {
        "seed": 3,
        "threads": 1,
        "arms": ["plain", "dasm"],
        "method": {},
        "experts": {"trainer": trainer, "number": 2, "epochs": 3, "prefix_steps": 5},
        "matching": {"objective": objective, "trainer": trainer, "factor": 1, "learning_rate": 5.0},
        "segment": {"s0": {"ipc": 1, "iterations": 2}, "s1": {"ipc": 1, "iterations": 2}},
        "planned_ipc": 2,
    }
    for module in ("pipeline.work.experts", "pipeline.work.distillation"):
        monkeypatch.setattr(f"{module}.runtime.start", lambda **_: (study, "cpu"))
        monkeypatch.setattr(f"{module}.read_split", lambda *_: task.train)
    for arm in ("plain", "whole", "dasm"):
        layout.distilled(arm, 0).mkdir(parents=True)
        (layout.distilled(arm, 0) / "state.json").write_text('{"segments": 0, "images_per_class": 0, "iterations": 0}')
    return study


def window_of(arm, state, weights, labels):
    write_difficulty(layout.difficulty(arm, state), difficulty_of(weights, labels), weights, {})


@pytest.mark.usefixtures("project")
def test_stages_make_what_the_method_makes(task):
    """Two segments under windows that keep everyone, through files and in memory; the first follows the shared ones."""
    real = task.train
    stage.run("real", 0)
    distillation.run("distill", "plain", 0, windowed=False)
    window_of("plain", 1, ones(real), real.labels)
    stage.run("plain", 1)
    distillation.run("distill", "plain", 1, windowed=False)
    plans = [SegmentPlan(ipc=1, iterations=2)] * 2
    expected = list(sequential(experts()).distil(real, plans, seed=3))
    for a, b in zip(read_segments(layout.distilled("plain", 2)), expected, strict=True):
        assert torch.equal(a.images, b.images) and a.learned_rate == b.learned_rate


@pytest.mark.usefixtures("task")
def test_a_segment_that_follows_experts_records_how_they_were_trained(project):
    """And only such a segment: what others are made of stays what it was."""
    stage.run("real", 0)
    distillation.run("distill", "plain", 0, windowed=False)
    project["method"] = {"dasm": {"matching": {"objective": {"name": "dm", "real_batch": 4}}}}
    distillation.run("distill", "dasm", 0, windowed=False)
    recipes = {arm: read_provenance(layout.distilled(arm, 1))["recipe"] for arm in ("plain", "dasm")}
    # A first segment's experts have no prefix to learn.
    late = {"prefix_steps", "prefix_recipe"}
    assert set(project["experts"]) & late
    assert recipes["plain"]["experts"] == {k: v for k, v in project["experts"].items() if k not in late}
    assert "experts" not in recipes["dasm"]


def read_provenance(folder):
    ((_, provenance),) = read_chain(segment_files(folder))
    return provenance


@pytest.mark.usefixtures("project")
def test_joint_arms_share_experts_trained_on_all_real_images_from_scratch(project, task):
    project["method"] = {"whole": {"joint": True}}
    real = task.train
    stage.run("real", 0)
    assert all_equal(list(Trajectories(layout.experts("real", 0))), list(experts().train(real, ones(real), 0, 3)))
    for k in (0, 1):
        distillation.run("control", "whole", k, windowed=False)
    assert [s.ipc for s in read_segments(layout.distilled("whole", 2))] == [2]


@pytest.mark.parametrize("windowed", ["both", "initial"])
def test_experts_of_a_scored_arm_learn_from_its_window(project, task, windowed):
    project["matching"]["windowed"] = windowed
    real = task.train
    weights = ones(real)
    weights[::2] = 0
    window_of("dasm", 0, weights, real.labels)
    stage.run("dasm", 0)
    used = weights if windowed == "both" else ones(real)
    assert all_equal(list(Trajectories(layout.experts("dasm", 0))), list(experts().train(real, used, 0, 3)))
