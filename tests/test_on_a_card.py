"""What the library does differently for a GPU, with real numbers on a card that is pretended (`tests.pretended`).

No tensor may be on the wrong device anywhere in the method; and where the draws do not depend on the device, the
results are those of a CPU.
"""

from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from dasm.coresets import Coreset, Guide
from dasm.diagnosis import Landmarks
from dasm.difficulty import rank_fraction
from dasm.evaluate import Protocol, accuracy, evaluate, judge
from dasm.evaluators import Evaluators
from dasm.experts import Experts
from dasm.matching import Matching
from dasm.networks import embed, predict
from dasm.networks.resnet import ResNet
from dasm.objectives.cafe import CAFE
from dasm.objectives.dc import DC
from dasm.objectives.dm import DM
from dasm.objectives.dsa import DSA
from dasm.objectives.gradient import Gradient
from dasm.objectives.mtt import MTT
from dasm.objectives.ncfm import NCFM
from dasm.objectives.sre2l import SRe2L
from dasm.plugins import available, build
from dasm.readings import Reading
from dasm.scores import Score
from dasm.segments import SegmentPlan
from dasm.selection import Selection
from dasm.sequential import Sequential
from dasm.steps.stepper import Stepper
from dasm.train import Recipe, Trainer
from dasm.types import Task
from dasm.windows import Window
from tests.conftest import make_blobs
from tests.pretended import CARD, OnCard, pretended, replaying
from tests.windows.test_windows import OPTIONS

pytestmark = pytest.mark.deep

ALL = ("flip", "color", "crop", "scale", "rotate", "cutout")
RECIPE = Recipe(batch_size=16, learning_rate=0.05, augmentation=ALL, cutmix=0.5)


@pytest.fixture
def card(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("has a real card, whose functions are not to be replaced")
    with pretended(monkeypatch), replaying(monkeypatch):
        yield


@pytest.fixture
def wide(trainer):
    """A network whose first convolution is a stem, with every augmentation."""
    return Trainer(network=replace(trainer.network, width=12), recipe=RECIPE)


def test_a_card_refuses_what_is_not_on_it(card):  # noqa: ARG001
    here, there = torch.rand(3, 2, device="cuda"), torch.rand(2, 3)
    assert (here.device, there.device.type, (here @ here.T).device) == (CARD, "cpu", CARD)
    assert there.to(CARD).is_cuda and not here.cpu().is_cuda and not here.to("cpu", torch.float64).is_cuda
    for mixed in (
        lambda: here @ there,
        lambda: here + there.T,
        lambda: here[torch.tensor([1])],
        lambda: there.T.add_(here),
    ):
        with pytest.raises(RuntimeError, match="two devices"):
            mixed()
    assert torch.equal((here + 1.0).cpu(), here.cpu() + 1.0)


def sequence(trainer, *, objective=None, score="loss", window="budget", ipc=1, **options):
    """Two segments of the method on the card; the first is stored, the second continues after it."""
    objective = objective or Gradient(real_batch=8, network_images=20)
    experts = options.pop("experts", None)
    read = {"path": options.pop("path")} if "path" in options else {}
    method = Sequential(
        matching=Matching(
            objective=objective,
            trainer=trainer,
            factor=2,
            match_prefix=objective.joins_prefix,
        ),
        evaluators=Evaluators(trainer=trainer, networks=2, steps=3, teacher_steps=3, snapshots=3, **options),
        selection=Selection(
            score=build(Score, {"name": score, **read}, "score"),
            window=build(Window, {"name": window, **OPTIONS.get(window, {})}, "window"),
        ),
        planned_ipc=2 * ipc,
        experts=experts,
    )
    real = replace(make_blobs(16, 0), origin=torch.arange(48)).to("cuda")
    assert isinstance(real.images, OnCard) or torch.cuda.is_available()
    plans = [SegmentPlan(ipc=ipc, iterations=2)] * 2
    segments = list(method.distil(real, plans, seed=0))
    assert [segment.images.is_cuda for segment in segments] == [False, False], "segments are kept on the host"
    assert all(not torch.equal(segment.images[0], segment.images[1]) for segment in segments)
    return [segment.images for segment in segments]


BRIEF = Gradient(real_batch=8, network_images=0, augmentation=())
OBJECTIVES = {
    "gradient, class by class": Gradient(real_batch=8, network_images=20, classes="loop", metric="cosine"),
    "gradient, frozen images drawn apart": Gradient(real_batch=8, network_images=20, synthetic_batch=3, frozen_batch=2),
    "gradient, norm penalty": Gradient(real_batch=8, network_images=20, norm_penalty=1.0),
    "gradient, prefixes": Gradient(real_batch=8, network_images=20, inner_iterations=1, subset_period=1),
    "gradient, networks that know the prefix": Gradient(real_batch=8, network_images=20, prefix_steps=2),
    "gradient, representative": Gradient(real_batch=8, network_images=0, sampler="representative"),
    "dc": DC(real_batch=8, outer=2, inner=2),
    "dsa": DSA(real_batch=8, outer=2, inner=2, augmentation=("one", *ALL)),
    "dm": DM(real_batch=8, augmentation=("one", *ALL)),
    "cafe": CAFE(real_batch=8, test_batch=4, checks=2, most_updates=2, most_epochs=2),
    "ncfm": NCFM(real_batch=8, networks=2, epochs=1),
}


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES.keys())
def test_every_objective_stays_on_the_card(card, wide, objective):  # noqa: ARG001
    sequence(wide, objective=objective, ipc=2)


FOLLOWED = {"mtt": {}, "mtt, learnt labels": {"label_rate": 2.0, "threshold": 10.0, "skipped_share": 0.25}}


def trajectories(trainer, name):
    experts = Experts(trainer=trainer, number=1, epochs=3, prefix_steps=2)
    objective = MTT(expert_epochs=1, max_start_epoch=1, student_steps=3, **FOLLOWED[name])
    return sequence(trainer, objective=objective, experts=experts)


@pytest.mark.parametrize("name", FOLLOWED)
def test_trajectories_stay_on_the_card(card, wide, name):  # noqa: ARG001
    trajectories(wide, name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", [*OBJECTIVES, *FOLLOWED])
def test_on_a_gpu_every_objective_gives_the_same_bits_twice(wide, name):
    first, second = (
        trajectories(wide, name) if name in FOLLOWED else sequence(wide, objective=OBJECTIVES[name], ipc=2)
        for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_statistics_stay_on_the_card(card, wide, labels):  # noqa: ARG001
    trainer = replace(wide, network=replace(wide.network, norm="batch"))
    sequence(trainer, objective=SRe2L(teacher_steps=2, labels=labels))


@pytest.mark.parametrize("score", available(Score))
def test_every_score_stays_on_the_card(card, wide, score, tmp_path):  # noqa: ARG001
    path = tmp_path / "scores.parquet"
    pq.write_table(pa.table({"score": range(48), "label": [0] * 16 + [1] * 16 + [2] * 16}), path)
    sequence(wide, objective=BRIEF, score=score, **({"path": str(path)} if score == "given" else {}))


@pytest.mark.parametrize("window", available(Window))
def test_every_window_stays_on_the_card(card, wide, window):  # noqa: ARG001
    sequence(wide, objective=BRIEF, window=window)


@pytest.mark.parametrize(
    "options", [{"start": "warm"}, {"order": "stagewise"}, {"training": "loop"}, {"training": "together"}]
)
def test_evaluators_stay_on_the_card(card, wide, options):  # noqa: ARG001
    sequence(wide, **options)


@pytest.mark.parametrize("name", available(Coreset))
def test_every_coreset_stays_on_the_card(card, wide, name, tmp_path):  # noqa: ARG001
    real, held = make_blobs(16, 0).to("cuda"), make_blobs(4, 1).to("cuda")
    file = tmp_path / "set.safetensors"
    save_file({"images": real.images.cpu(), "labels": real.labels.cpu()}, file)
    rule = build(Coreset, {"name": name, **({"path": str(file)} if name == "given" else {})}, "coreset")
    networks = Evaluators(trainer=wide, networks=2, steps=3, teacher_steps=3, snapshots=3).train([real], 0, 0)
    protocol = Protocol(recipe=RECIPE, steps=2, seeds=1)
    guide = Guide(
        readings=[[Reading(network, real) for network in snapshots] for snapshots in networks],
        judge=judge(protocol, wide.network, Task(train=real, validation=held, test=held), 0),
    )
    small, large = rule.segments(real, [1, 3], factor=1, seed=0, guide=guide)
    assert [len(small.images), len(large.images), small.images.device.type] == [3, 9, "cpu"]
    started = torch.cat([small.sources, large.sources])
    assert (started == -1).all() if name == "given" else len(started.unique()) == 12


@pytest.mark.parametrize("training", ["loop", "together"])
def test_the_benchmark_stays_on_the_card(card, wide, training):  # noqa: ARG001
    data = make_blobs(4, 0).to("cuda")
    task = Task(train=data, validation=data, test=make_blobs(2, 1).to("cuda"))
    protocol = Protocol(recipe=RECIPE, steps=2, seeds=2, training=training)
    assert len(evaluate(protocol, wide.network, [data], task, 0)) == 2
    if training == "loop":
        assert len(evaluate(protocol, ResNet(depth=18), [data], task, 0)) == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a real card")
def test_steps_are_taken_with_the_card_of_the_images_as_the_current_one(card, wide, monkeypatch):  # noqa: ARG001
    current, taken, take = [], [], Stepper._take

    @contextmanager
    def device_of(tensor):
        current.append(tensor.device)
        yield
        current.pop()

    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    monkeypatch.setattr(Stepper, "_take", lambda *a, **k: (taken.append([*current]), take(*a, **k)))
    wide.train(make_blobs(8, 0).to(CARD), 2, 0)
    assert taken == [[CARD], [CARD]]


def test_scoring_on_the_card_gives_the_numbers_of_the_cpu(wide, monkeypatch):
    data = make_blobs(16, 0)
    network = wide.start(data, 0).network
    expected, features = predict(network, data), embed(network, data)
    with pretended(monkeypatch):
        moved, there = wide.start(data.to("cuda"), 0).network, data.to("cuda")
        found, embedded, share = predict(moved, there), embed(moved, there), accuracy(moved, there)
        assert found.is_cuda and next(moved.parameters()).is_cuda
        found, embedded = found.cpu(), embedded.cpu()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(embedded, features, rtol=1e-5, atol=1e-6)
    assert share == accuracy(network, data)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a real card")
@pytest.mark.parametrize("more", [{}, {"frozen_batch": 3}, {"subset_period": 1}])
@pytest.mark.parametrize("classes", ["batched", "loop"])
def test_matching_on_the_card_gives_the_pixels_of_the_cpu(wide, monkeypatch, classes, more):
    """Without augmentation, whose draws are the device's own: another memory format, draws in blocks, the history."""
    about = {"real_batch": 8, "network_images": 0, "augmentation": (), "inner_iterations": 3}
    objective = Gradient(**about, classes=classes, synthetic_batch=5, **more)
    options = {"factor": 2, "learning_rate": 0.1, "match_prefix": True, "even_rate": True}
    matching = Matching(objective=objective, trainer=wide, **options)
    data = make_blobs(16, 0)
    start = torch.rand(3, 3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    prefix = [torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(label)) for label in range(3)]

    def run(real):
        weights = torch.tensor([1.0, 0.5, 2.0] * 16)
        return matching.optimise(
            start,
            real,
            weights,
            iterations=8,
            planned_ipc=3,
            stream=0,
            frozen=[images.to(real.labels.device) for images in prefix],
        )

    pixels, distances = run(data)
    with pretended(monkeypatch):
        found, there = run(data.to("cuda"))
    assert not torch.allclose(pixels, start, atol=1e-3), "they moved"
    torch.testing.assert_close(found, pixels, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(there, distances, rtol=1e-4, atol=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a real card")
def test_a_diagnosis_comes_home_from_the_card(wide, monkeypatch):
    """Real and synthetic images are seen there; what is compared is on the CPU, and the numbers are a CPU's."""
    real, made = make_blobs(16, 0), make_blobs(2, 1)
    network = wide.start(real, 0).network
    rank = rank_fraction(torch.arange(len(real)).float(), real.labels)
    landmarks = Landmarks(network, real, rank, 0)
    expected = landmarks.diagnose([landmarks.see(made)])
    with pretended(monkeypatch):
        moved = wide.start(real.to("cuda"), 0).network
        landmarks = Landmarks(moved, real.to("cuda"), rank, 0)
        found = landmarks.diagnose([landmarks.see(made.to("cuda"))])
    assert found.coverage == pytest.approx(expected.coverage)
    assert found.diversity == pytest.approx(expected.diversity, rel=1e-4)
    assert found.segments[0].difficulty == pytest.approx(expected.segments[0].difficulty)
