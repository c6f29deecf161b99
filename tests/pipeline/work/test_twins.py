"""Work that another arm has done: taken over when it is the same to the bit, done anew when anything differs."""

import copy
import json
import multiprocessing
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from dasm import scores
from dasm.errors import ConfigError
from dasm.matching import Matching
from dasm.plugins import build, spelled
from dasm.segments import SegmentPlan, distil_segment
from dasm.tables import read_difficulty, read_segments, read_window
from dasm.types import Segment, Task
from pipeline import layout
from pipeline.stages import benchmark, control, distill, score, train
from pipeline.stages import open as beginning
from pipeline.work import distillation, runtime, scoring, training, twins
from tests.conftest import make_blobs
from tests.handmade import answering

RECIPE = {"batch_size": 16, "learning_rate": 0.05, "augmentation": ["color"], "cutmix": 0.0}
TRAINER = {"network": {"name": "convnet", "width": 4, "depth": 2}, "recipe": RECIPE}
OBJECTIVE = {"name": "gradient", "real_batch": 8, "inner_iterations": 2, "network_images": 16}
PROTOCOL = {"seeds": 2, "steps": 4, "recipe": RECIPE}
STUDY = {
    "seed": 3,
    "benchmark": {"networks": [TRAINER["network"], {"name": "mlp", "width": 4}], "protocol": PROTOCOL},
    "threads": 1,
    "experts": None,
    "planned_ipc": 4,
    "arms": ["easy", "hard"],
    "controls": ["alone", "joint", "together", "faster"],
    "matching": {"objective": OBJECTIVE, "trainer": TRAINER, "learning_rate": 0.5, "factor": 1},
    "evaluator": {"networks": 2, "steps": 4, "teacher_steps": 4, "trainer": TRAINER},
    "selection": {"score": {"name": "loss"}, "window": {"name": "budget", "width": 0.5}},
    "chain": [{"k": k, "next": k + 1} for k in range(2)],
    "segment": {f"s{k}": {"ipc": 2, "iterations": 4} for k in range(2)},
    "method": {
        "joint": {"joint": True},
        "together": {"matching": {"match_prefix": True, "windowed": "initial", "objective": {"prefix_steps": 2}}},
        "faster": {"matching": {"learning_rate": 1.0}},
        "hard": {"selection": {"window": {"name": "tail", "width": 0.9}}},
    },
}
SPLITS = ("train", "validation", "test")
WHOLE = {"windowed": False}


@pytest.fixture
def done(tmp_path, monkeypatch):
    """An empty project with every arm's state 0; a list of the work that is really done in it."""
    monkeypatch.chdir(tmp_path)
    work = []

    def noting(module, name):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args, **more: work.append(name) or real(*args, **more))

    for module in (distillation, training, scoring):
        monkeypatch.setattr(module, "read_split", lambda *_: make_blobs(16, seed=0))
    monkeypatch.setattr(
        benchmark, "read_task", lambda *_: Task(**{name: make_blobs(8, n) for n, name in enumerate(SPLITS)})
    )
    monkeypatch.setattr("pipeline.params.read", lambda: STUDY)
    monkeypatch.setattr("pipeline.work.runtime.start", lambda **_: (STUDY, "cpu"))
    noting(distillation, "distil_segment")
    noting(training, "write_networks")
    noting(scoring, "measure")
    noting(benchmark, "judge")
    for arm in (*STUDY["arms"], *STUDY["controls"]):
        beginning.main(arm)
    return work


def distil(arm, k=0):
    distillation.run("control", arm, k, **WHOLE)
    return read_segments(layout.distilled(arm, k + 1))[-1]


def teach(done):
    """Train the networks of state 0, which is no work to be counted; return the real images."""
    layout.TEACHERS.mkdir(parents=True)
    real, method = make_blobs(16, seed=0), build(training.Evaluators, STUDY["evaluator"], "evaluator")
    training.write_networks(layout.TEACHERS, method.train([real], 0, STUDY["seed"]))
    done.clear()
    return real


def entry(name):
    return json.loads((layout.LEDGER / f"{name}.json").read_text())


def same(first: Segment, second: Segment) -> bool:
    return torch.equal(first.images, second.images) and torch.equal(first.sources, second.sources)


def test_the_first_segment_is_made_once_whatever_only_later_ones_differ_in(done, monkeypatch):
    first = distil("alone")
    assert done == ["distil_segment"]
    others = [distil("joint"), distil("together")]
    assert done == ["distil_segment"], "and for no other arm again"
    assert all(same(other, first) for other in others)
    alone, joint = entry("control-alone-0"), entry("control-joint-0")
    assert "taken_from" not in alone
    assert joint["taken_from"] == entry("control-together-0")["taken_from"] == alone["name"]
    kept = {"seconds", "flops", "forward_images", "backward_images", "iterations", "distances", "work", "threads"}
    assert {key: joint[key] for key in kept} == {key: alone[key] for key in kept}
    assert joint["flops"] > 0 and joint["arm"] == "joint"
    # It is what it would have been.
    monkeypatch.setenv("DASM_TWINS", "0")
    assert same(distil("together"), first)
    assert done == ["distil_segment"] * 2
    assert "taken_from" not in entry("control-together-0")


@pytest.mark.parametrize(("arm", "block"), [("alone", "matching"), ("faster", "method.faster.matching")])
@pytest.mark.usefixtures("done")
def test_what_diverges_names_the_rates_of_both_pixels_and_networks(monkeypatch, arm, block):
    """Here the networks' own is too large; of that no word was said."""
    study = copy.deepcopy(STUDY)
    study["matching"]["trainer"]["recipe"]["learning_rate"] = 1e9
    monkeypatch.setattr("pipeline.work.runtime.start", lambda **_: (study, "cpu"))
    hint = f"a smaller {block}.learning_rate may help, or {block}.trainer.recipe.learning_rate where its networks learn"
    with pytest.raises(ConfigError, match=rf"^control@{arm}-s0: iteration \d+: the .* \({re.escape(hint)}\)$"):
        distil(arm)


def test_what_differs_is_done_anew(done):
    first = distil("alone")
    assert not same(distil("faster"), first)
    for arm in ("alone", "joint", "together"):
        distil(arm)
    done.clear()
    seconds = [distil("alone", 1), distil("together", 1), distil("joint", 1)]
    assert done == ["distil_segment"] * 3
    assert not any(same(seconds[0], other) for other in seconds[1:])


@pytest.mark.parametrize("harm", ["changed", "gone", "unread"])
def test_files_that_are_not_as_they_were_made_are_nobodys_twin(done, harm):
    expected = distil("alone")
    file = layout.distilled("alone", 1) / "s0.parquet"
    if harm == "changed":
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif harm == "gone":
        file.unlink()
    else:
        (layout.LEDGER / "control-alone-0.json").unlink()
    assert same(distil("together"), expected)
    assert done == ["distil_segment"] * 2


def test_an_entry_that_goes_while_it_is_looked_for_is_nobodys_twin(done, monkeypatch):
    """DVC clears what a stage will write, the ledger included, just before the stage starts."""
    expected = distil("alone")
    reading = twins._read

    def clearing(path):
        if path.parent == layout.LEDGER:
            path.unlink()
        return reading(path)

    monkeypatch.setattr(twins, "_read", clearing)
    assert same(distil("together"), expected)
    assert done == ["distil_segment"] * 2


def test_what_was_taken_over_can_be_taken_over(done):
    first = distil("alone")
    distil("together")
    (layout.LEDGER / "control-alone-0.json").unlink()
    assert same(distil("joint"), first)
    assert done == ["distil_segment"]
    assert entry("control-joint-0")["taken_from"] == "control-alone-0"


def test_work_that_is_done_again_on_purpose_is_done(done):
    """By hand, say, to see whether it comes out the same: neither one's own files nor copies of them will do."""
    first = distil("alone")
    distil("together")
    assert same(distil("alone"), first)
    assert done == ["distil_segment"] * 2
    assert "taken_from" not in entry("control-alone-0")
    distil("together")
    assert done == ["distil_segment"] * 2


def test_evaluators_and_scores_are_made_once_and_windows_are_everybodys_own(done):
    teach(done)
    for arm in STUDY["arms"]:
        score.main(arm, 0)
        distillation.run("distill", arm, 0, windowed=True)
        train.main(arm, 1)
        score.main(arm, 1)
    assert done == ["measure", "distil_segment", "write_networks", "measure"]
    for name in ("score-hard-0", "distill-hard-0", "train-hard-1", "score-hard-1"):
        found = entry(name)
        assert found["taken_from"] == entry(name.replace("hard", "easy"))["name"]
        assert found["files"] and not any("easy" in file for file in found["files"])
        assert found["flops"] == entry(name.replace("hard", "easy"))["flops"] > 0
    easy, hard = (layout.evaluators(arm, 1) for arm in STUDY["arms"])
    assert len(list(hard.glob("*.safetensors"))) == 2
    for file in easy.glob("*.safetensors"):
        assert (hard / file.name).read_bytes() == file.read_bytes()
    tables = [read_difficulty(layout.difficulty(arm, 1)) for arm in STUDY["arms"]]
    assert torch.equal(tables[0].score, tables[1].score) and torch.equal(tables[0].right, tables[1].right)
    windows = [read_window(layout.difficulty(arm, 1)) for arm in STUDY["arms"]]
    assert not torch.equal(windows[0][0], windows[1][0]), "each arm's own window"
    # So the second segments have nothing in common, and nothing after them.
    done.clear()
    for arm in STUDY["arms"]:
        distillation.run("distill", arm, 1, windowed=True)
        train.main(arm, 2)
    assert done == ["distil_segment", "write_networks"] * 2


@pytest.mark.parametrize("images", ["decoded", "stored"])
def test_evaluators_learn_the_images_that_the_study_names(done, monkeypatch, images):  # noqa: ARG001
    evaluator, matching = {**STUDY["evaluator"], "images": images}, {**STUDY["matching"], "factor": 2}
    study = {**STUDY, "evaluator": evaluator, "matching": matching}
    monkeypatch.setattr("pipeline.work.runtime.start", lambda **_: (study, "cpu"))
    learnt, train_all = [], training.Evaluators.train
    spy = lambda self, parts, *rest, **more: learnt.append(parts) or train_all(self, parts, *rest, **more)  # noqa: E731
    monkeypatch.setattr(training.Evaluators, "train", spy)
    stored = distil("alone").images
    training.run("alone", 1)
    ((part,),) = learnt
    assert len(part) == len(stored) * (4 if images == "decoded" else 1)
    assert torch.equal(part.images, stored) == (images == "stored")


@pytest.mark.parametrize("due", [(1, 2), (2,)], ids=["every prefix", "the whole set"])
def test_a_joint_arm_distils_what_is_asked_for_under_the_window_of_state_0(done, monkeypatch, due):
    """What a study of one segment, as large and as long as all of them, distils under its first window."""
    joint = {"joint": True, "selection": {"first_window": "window", "window": {"name": "hard_filter"}}}
    monkeypatch.setitem(STUDY["method"], "hard", joint)
    monkeypatch.setattr("pipeline.methods.prefix_due", lambda _, state: state in due)
    real = teach(done)
    score.main("hard", 0)
    weights, rank = read_window(layout.difficulty("hard", 0))
    assert 0 < weights.count_nonzero() < len(real)
    for k in range(2):
        distill.main("hard", k)
        train.main("hard", k + 1)
        score.main("hard", k + 1)
        first, now = (layout.difficulty("hard", state).read_bytes() for state in (0, k + 1))
        assert now == first, "the window stays what it is"
    for k in (state - 1 for state in due):
        (segment,) = read_segments(layout.distilled("hard", k + 1))
        expected, _ = distil_segment(
            build(Matching, STUDY["matching"], "matching"),
            SegmentPlan(ipc=2 * (k + 1), iterations=4 * (k + 1)),
            real,
            [],
            weights=weights,
            rank=rank,
            planned_ipc=STUDY["planned_ipc"],
            seed=STUDY["seed"],
        )
        assert same(segment, expected)
        assert (segment.lower, segment.upper) == pytest.approx((expected.lower, expected.upper))
    assert done == ["measure", *["distil_segment"] * len(due)], "nothing is trained or scored on the way"
    assert [entry(f"distill-hard-{k}").get("passed", False) for k in range(2)] == [state not in due for state in (1, 2)]
    assert all(entry(f"{stage}-hard-{state}")["passed"] for stage in ("train", "score") for state in (1, 2))
    sizes = [json.loads((layout.distilled("hard", state) / "state.json").read_text()) for state in (1, 2)]
    assert [(size["images_per_class"], size["iterations"]) for size in sizes] == [(2, 4), (4, 8)]


@pytest.mark.parametrize("arms", [("joint", "once"), ("once", "joint")])
def test_a_set_that_is_made_once_is_that_of_a_joint_arm_cut(done, monkeypatch, arms):
    """Either takes the other's whole set over; the prefixes of one that is made once cost nothing more."""
    monkeypatch.setitem(STUDY["method"], "once", {"joint": "once"})
    monkeypatch.setitem(STUDY, "controls", [*STUDY["controls"], "once"])
    monkeypatch.setattr("pipeline.methods.prefix_due", lambda arm, state: state == (1 if arm == "once" else 2))
    beginning.main("once")
    for arm in arms:
        for k in range(2):
            control.main(arm, k)
    assert done == ["distil_segment"]
    (joint,), pieces = (read_segments(layout.distilled(arm, 2)) for arm in ("joint", "once"))
    (first,) = read_segments(layout.distilled("once", 1))
    assert [piece.ipc for piece in pieces] == [2, 2] and same(first, pieces[0])
    for label in range(len(joint.labels.unique())):
        mine = [piece.images[piece.labels == label] for piece in pieces]
        assert torch.equal(torch.cat(mine), joint.images[joint.labels == label])
    giver, taker = (f"control-{arm}-{0 if arm == 'once' else 1}" for arm in arms)
    assert entry(taker)["taken_from"] == entry(giver)["name"] and entry(taker)["flops"] == entry(giver)["flops"] > 0
    assert entry("control-once-1")["passed"] and "passed" not in entry("control-once-0")
    before, after = (layout.distilled("once", state) for state in (1, 2))
    assert {path.name for path in after.iterdir()} == {"s0.parquet", "s1.parquet", "state.json"}
    assert (after / "s1.parquet").read_bytes() == (before / layout.AHEAD / "s1.parquet").read_bytes()
    sizes = [json.loads((folder / "state.json").read_text()) for folder in (before, after)]
    expected = [{"segments": 1, "images_per_class": 2}, {"segments": 2, "images_per_class": 4}]
    assert sizes == [{**size, "iterations": 8} for size in expected], "there is no prefix without the whole"


def test_a_made_set_of_which_a_piece_is_missing_is_nobodys_twin(done, monkeypatch):
    monkeypatch.setitem(STUDY["method"], "once", {"joint": "once"})
    monkeypatch.setitem(STUDY, "controls", [*STUDY["controls"], "once"])
    monkeypatch.setattr("pipeline.methods.prefix_due", lambda *_: True)
    beginning.main("once")
    control.main("once", 0)
    (layout.distilled("once", 1) / layout.AHEAD / "s1.parquet").unlink()
    control.main("joint", 1)
    assert done == ["distil_segment"] * 2


def test_a_set_that_several_arms_have_is_judged_once_and_the_results_are_each_ones_own(done, monkeypatch):
    distil("alone")
    distil("joint")
    distil("faster")
    for arm in ("alone", "joint", "faster"):
        benchmark.main(arm, 1)
    assert done.count("judge") == 2
    assert "taken_from" not in entry("benchmark-faster-1")
    assert entry("benchmark-joint-1")["taken_from"] == "benchmark-alone-1"
    taken = layout.results("joint", 1).read_bytes()
    first, second = (pq.read_table(layout.results(arm, 1)).to_pylist() for arm in ("alone", "joint"))
    assert [row["arm"] for row in second] == ["joint"] * 4
    own = ("arm", "content")
    assert all(a[name] == b[name] for a, b in zip(first, second, strict=True) for name in a if name not in own)
    assert first[0]["content"] != second[0]["content"]
    monkeypatch.setenv("DASM_TWINS", "0")
    benchmark.main("joint", 1)
    assert done.count("judge") == 3
    assert layout.results("joint", 1).read_bytes() == taken, "what it would have written itself"


@pytest.mark.usefixtures("done")
def test_a_set_that_is_not_there_is_refused_before_anybody_is_trained_on_it():
    with pytest.raises(ConfigError, match=r"^data/distilled/alone/0: must hold a set to judge, got 'none'$"):
        benchmark.main("alone", 0)


def test_a_segment_that_was_taken_over_says_between_which_ranks_its_own_window_lies(done, monkeypatch):
    distil("alone")
    monkeypatch.setattr(distillation, "read_window", lambda _: (torch.ones(48), torch.arange(48) / 48 * 0.5))
    distillation.run("distill", "easy", 0, windowed=True)
    assert done == ["distil_segment"]
    own, whole = (read_segments(layout.distilled(arm, 1))[0] for arm in ("easy", "alone"))
    assert (whole.lower, whole.upper) == (0.0, 1.0)
    assert (own.lower, own.upper) != (whole.lower, whole.upper)


PLAIN = (4, 3, "cpu", {"threads": 1})


def identity(*, prefix=(), weights=None, rank=None, more=PLAIN, teaching=(), ipc=2, iterations=4, **options):
    matching = build(Matching, {**STUDY["matching"], **options}, "matching")
    real = make_blobs(16, seed=0)
    plan = SegmentPlan(ipc=ipc, iterations=iterations)
    weights = torch.ones(48) if weights is None else weights
    return distillation._identity(matching, plan, real, prefix, weights, rank, more, teaching)


WINDOW, RANK = (torch.arange(48) % 2).float(), torch.arange(48.0) / 48
SEGMENT = Segment(
    images=torch.zeros(3, 1, 8, 8, dtype=torch.uint8),
    labels=torch.arange(3),
    index=0,
    factor=1,
    sources=torch.arange(3)[:, None],
    lower=0.0,
    upper=1.0,
    iterations=4,
)
DIFFERENT = {
    "nothing": {},
    "size": {"ipc": 1},
    "iterations": {"iterations": 5},
    "planned images": {"more": (5, 3, "cpu", {"threads": 1})},
    "seed": {"more": (4, 2, "cpu", {"threads": 1})},
    "device": {"more": (4, 3, "cuda", {"threads": 1})},
    "threads": {"more": (4, 3, "cpu", {"threads": 2})},
    "experts": {"more": (4, 3, "cpu", {"threads": 1, "experts": {"number": 2}})},
    "rate": {"learning_rate": 0.6},
    "rate by the images that are matched": {"budget": "matched"},
    "objective": {"objective": {**OBJECTIVE, "real_batch": 9}},
    "network": {"trainer": {**TRAINER, "network": {"name": "convnet", "width": 4, "depth": 1}}},
    "factor": {"factor": 2},
    "window": {"weights": WINDOW, "rank": RANK},
    "other ranks": {"weights": WINDOW, "rank": RANK.flip(0)},
    "window of the initial images": {"weights": WINDOW, "rank": RANK, "windowed": "initial"},
    "networks of the window": {"weights": WINDOW, "rank": RANK, "learns_from": "window"},
    "prefix": {"prefix": [SEGMENT]},
    "prefix matched": {"prefix": [SEGMENT], "match_prefix": True},
    "prefix matched at another rate": {"prefix": [SEGMENT], "match_prefix": True, "even_rate": True},
    "prefix drawn apart": {
        "prefix": [SEGMENT],
        "match_prefix": True,
        "objective": {**OBJECTIVE, "frozen_batch": 2},
    },
    "prefix learnt": {"prefix": [SEGMENT], "objective": {**OBJECTIVE, "prefix_steps": 2}},
    "other images": {"prefix": [replace(SEGMENT, images=SEGMENT.images + 1)]},
    "soft labels": {"prefix": [replace(SEGMENT, soft_labels=torch.full((3, 3), 1 / 3))]},
    "other origins": {"prefix": [replace(SEGMENT, sources=SEGMENT.sources + 3)]},
    "two segments": {"prefix": [SEGMENT, replace(SEGMENT, index=1)]},
}
NO_DIFFERENCE = {
    "prefix matched, without one": ({"match_prefix": True}, "nothing"),
    "another rate of a union, without one": ({"match_prefix": True, "even_rate": True}, "nothing"),
    "prefix drawn apart, without one": (
        {"match_prefix": True, "objective": {**OBJECTIVE, "frozen_batch": 2}},
        "nothing",
    ),
    "prefix learnt, without one": ({"objective": {**OBJECTIVE, "prefix_steps": 9, "prefix_period": 3}}, "nothing"),
    "what a window is for, without one": ({"windowed": "matching"}, "nothing"),
    "networks of the window, without one": ({"learns_from": "window"}, "nothing"),
    "networks of all, of which the window is not for them": (
        {"weights": WINDOW, "rank": RANK, "windowed": "initial", "learns_from": "window"},
        "window of the initial images",
    ),
    "ranks, without a window": ({"rank": RANK}, "nothing"),
    "equal weights": ({"weights": torch.full((48,), 1.0), "rank": RANK}, "nothing"),
    "bounds of earlier windows": ({"prefix": [replace(SEGMENT, lower=0.3, upper=0.8)]}, "prefix"),
}


def test_everything_that_a_segment_depends_on_is_part_of_its_identity():
    found = {name: identity(**change) for name, change in DIFFERENT.items()}
    assert len(set(found.values())) == len(found)
    for name, (change, like) in NO_DIFFERENCE.items():
        assert identity(**change) == found[like], name


def test_a_part_of_another_file_is_another_whatever_its_class_is_called(done, monkeypatch, tmp_path):
    """A plug-in that began as a copy of its neighbour: the class has kept its name, and it says the opposite."""
    loss = (Path(scores.__file__).parent / "loss.py").read_text()
    (tmp_path / "ease.py").write_text(loss.replace("return cross_entropy", "return -cross_entropy"))
    monkeypatch.setattr(scores, "__path__", [*scores.__path__, str(tmp_path)])
    monkeypatch.setitem(sys.modules, "dasm.scores.ease", None)  # so that it is forgotten afterwards
    del sys.modules["dasm.scores.ease"]
    study = {**STUDY, "method": {"hard": {"selection": {"score": {"name": "ease"}}}}}
    monkeypatch.setattr("pipeline.work.runtime.start", lambda **_: (study, "cpu"))
    teach(done)
    for arm in STUDY["arms"]:
        score.main(arm, 0)
    assert done == ["measure", "measure"]
    easy, hard = (read_difficulty(layout.difficulty(arm, 0)) for arm in STUDY["arms"])
    assert torch.equal(easy.score, -hard.score) and easy.score.std() > 0


def test_how_experts_are_trained_is_part_of_a_segment_that_follows_them(monkeypatch):
    asked = []
    monkeypatch.setattr(runtime, "identity", lambda *_, code, **__: asked.append({*code}) or "")
    identity()
    identity(teaching=distillation._teaching({"trainer": TRAINER}))
    own = {"pipeline.work.distillation"}
    taught = {"pipeline.work.experts", "dasm.train", "dasm.recipe", "dasm.networks.convnet"}
    assert asked == [own, own | taught]


def test_an_identity_holds_values_and_no_addresses(monkeypatch):
    seen = []
    monkeypatch.setattr(
        distillation.runtime, "identity", lambda *values, parts, code, tensors: seen.append((values, spelled(parts)))
    )
    identity(prefix=[SEGMENT])
    assert "gradient" in str(seen).lower() and "real_batch=8" in str(seen)
    assert " at 0x" not in str(seen)


def changed(path, value):
    """The study with one option changed; `a.b` is b of block a."""
    study = copy.deepcopy(STUDY)
    block, keys = study, path.split(".")
    for key in keys[:-1]:
        block = block[key]
    block[keys[-1]] = value
    return study


def other_images(split):
    """Real sets as `done` provides them, but of one split the images are others."""

    def change(monkeypatch):
        real = make_blobs(16, seed=5 if split == "train" else 0)
        for module in (distillation, training, scoring):
            monkeypatch.setattr(module, "read_split", lambda *_: real)
        sets = {name: make_blobs(8, n + 7 * (name == split)) for n, name in enumerate(SPLITS)}
        monkeypatch.setattr(benchmark, "read_task", lambda *_: Task(**sets))

    return change


def other_mean(monkeypatch):
    real = replace(make_blobs(16, seed=0), mean=torch.full((1,), 0.36))
    for module in (distillation, training, scoring):
        monkeypatch.setattr(module, "read_split", lambda *_: real)
    sets = {name: replace(make_blobs(8, n), mean=real.mean) for n, name in enumerate(SPLITS)}
    monkeypatch.setattr(benchmark, "read_task", lambda *_: Task(**sets))


def other_teacher(monkeypatch):
    """The protocol is the same; the network that labels all sets is there, or is another one."""
    monkeypatch.setattr("pipeline.work.labelling.read", lambda *_: answering(torch.eye(3)))


SHALLOW = {"name": "convnet", "width": 4, "depth": 1}
# By stage: what it is called with, what it does, and everything that makes it do that anew.
INPUTS = {
    "distill": (
        lambda arm: distillation.run("distill", arm, 1, **WHOLE),
        "distil_segment",
        {
            "seed": ("seed", 4),
            "threads": ("threads", 2),
            "planned images": ("planned_ipc", 5),
            "iterations": ("segment.s1.iterations", 5),
            "objective": ("matching.objective.real_batch", 9),
            "images": other_images("train"),
            "mean": other_mean,
            "device": "cuda",
        },
    ),
    "train": (
        lambda arm: train.main(arm, 1),
        "write_networks",
        {
            "seed": ("seed", 4),
            "threads": ("threads", 2),
            "steps": ("evaluator.steps", 5),
            "networks": ("evaluator.networks", 3),
            "network": ("evaluator.trainer.network", SHALLOW),
            "recipe": ("evaluator.trainer.recipe.learning_rate", 0.06),
            "mean": other_mean,
            "device": "cuda",
        },
    ),
    "score": (
        lambda arm: score.main(arm, 1),
        "measure",
        {
            "score": ("selection.score", {"name": "margin"}),
            "threads": ("threads", 2),
            "precision": ("evaluator.trainer.recipe.precision", "bf16"),
            "images": other_images("train"),
            "mean": other_mean,
            "device": "cuda",
        },
    ),
    "benchmark": (
        lambda arm: benchmark.main(arm, 1),
        "judge",
        {
            "seed": ("seed", 4),
            "threads": ("threads", 2),
            "networks": ("benchmark.networks", [SHALLOW]),
            "steps": ("benchmark.protocol.steps", 5),
            "recipe": ("benchmark.protocol.recipe.cutmix", 0.5),
            "labels": ("benchmark.protocol.labels", "hard"),
            "teacher": other_teacher,
            "validation": other_images("validation"),
            "test": other_images("test"),
            "mean": other_mean,
            "device": "cuda",
        },
    ),
}


@pytest.fixture
def first_state(done):
    """Two scored arms with the same first segment, evaluators and scores."""
    layout.TEACHERS.mkdir(parents=True)
    real, method = make_blobs(16, seed=0), build(training.Evaluators, STUDY["evaluator"], "evaluator")
    training.write_networks(layout.TEACHERS, method.train([real], 0, STUDY["seed"]))
    for arm in STUDY["arms"]:
        distillation.run("distill", arm, 0, **WHOLE)
        score.main(arm, 0)
        train.main(arm, 1)
    return done


@pytest.mark.deep
@pytest.mark.parametrize("stage", INPUTS)
def test_each_stage_does_anew_what_any_input_makes_different(first_state, monkeypatch, stage):
    main, does, inputs = INPUTS[stage]
    easy, hard = STUDY["arms"]
    main(easy)
    for name, change in {"nothing": None, **inputs}.items():
        first_state.clear()
        with monkeypatch.context() as patch:
            if callable(change):
                change(patch)
            elif change == "cuda":
                _pretend(patch, STUDY, "cpu:0")
            elif change:
                study = changed(*change)
                patch.setattr("pipeline.params.read", lambda study=study: study)
                _pretend(patch, study, "cpu")
            main(hard)
        assert first_state == ([] if name == "nothing" else [does]), name


def _pretend(monkeypatch, study, device):
    monkeypatch.setattr("pipeline.work.runtime.start", lambda **_: (study, device))


def test_networks_that_count_their_batches_are_told_apart_as_well(done, monkeypatch):
    """Batch normalisation keeps a number without a dimension."""
    study = changed("evaluator.trainer.network", SHALLOW | {"norm": "batch"})
    monkeypatch.setattr("pipeline.params.read", lambda: study)
    _pretend(monkeypatch, study, "cpu")
    layout.TEACHERS.mkdir(parents=True)
    method = build(training.Evaluators, study["evaluator"], "evaluator")
    training.write_networks(layout.TEACHERS, method.train([make_blobs(16, seed=0)], 0, 3))
    for arm in STUDY["arms"]:
        score.main(arm, 0)
    assert done.count("measure") == 1


def test_what_becomes_of_the_twins_files_later_is_no_matter(done, monkeypatch):
    """DVC may be clearing them for a new run of their own stage."""
    first = distil("alone")
    finding = twins.find

    def clearing(work, own, room):
        twin = finding(work, own, room)
        shutil.rmtree(layout.distilled("alone", 1))
        return twin

    monkeypatch.setattr(twins, "find", clearing)
    assert same(distil("together"), first)
    assert done == ["distil_segment"]
    assert not list(twins._LOCK.parent.glob("twin-*"))


def test_a_neighbour_whose_earlier_files_are_damaged_is_a_twin_all_the_same(done, monkeypatch):
    distil("alone")
    second = distil("alone", 1)
    (layout.distilled("alone", 2) / "s0.parquet").write_bytes(b"PAR1")
    done.clear()
    study = changed("method", {})
    study["controls"] = [*study["controls"], "alike"]
    monkeypatch.setattr("pipeline.params.read", lambda: study)
    _pretend(monkeypatch, study, "cpu")
    beginning.main("alike")
    distil("alike")
    found = distil("alike", 1)
    assert same(found, second)
    assert done == []


def test_a_joint_prefix_is_as_large_as_planned_whatever_became_of_the_one_before(done):
    """It may have been ended early, or be one that nobody benchmarks."""
    distil("joint")
    state = layout.distilled("joint", 1) / "state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"iterations": 1, "images_per_class": 1}))
    assert distil("joint", 1).ipc == 4
    assert entry("control-joint-1")["iterations"] == 8
    assert done == ["distil_segment"] * 2


@pytest.mark.usefixtures("done")
def test_the_cost_is_on_record_before_the_next_one_looks(monkeypatch):
    """Whoever waits for the lock looks for finished work as soon as it is free."""
    released, opening = [], twins.Path.open

    class Watched:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self.file.__enter__()

        def __exit__(self, *error):
            released.append((layout.LEDGER / "control-alone-0.json").exists())
            return self.file.__exit__(*error)

    def watching(path, *mode, **more):
        file = opening(path, *mode, **more)
        return Watched(file) if path == twins._LOCK else file

    monkeypatch.setattr(twins.Path, "open", watching)
    distil("alone")
    assert released == [True]


def _seek(work, begun, found):
    begun.set()
    with twins.sought(work, "second") as twin:
        found.put(None if twin is None else twin.name)


@pytest.mark.deep
def test_whoever_wants_the_same_work_at_the_same_time_waits_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layout.LEDGER.mkdir(parents=True)
    context = multiprocessing.get_context("spawn")
    found, others, works = context.Queue(), [], ["ab" * 12, "cd" * 12]
    with twins.sought(works[0], "first") as twin:
        assert twin is None
        for work in works:
            begun = context.Event()
            others.append(context.Process(target=_seek, args=(work, begun, found)))
            others[-1].start()
            assert begun.wait(60)
        others[1].join(60)
        assert others[1].exitcode == 0 and found.get(timeout=5) is None, "other work does not wait"
        others[0].join(0.5)
        assert others[0].is_alive(), "the same does"
        made = tmp_path / "made.txt"
        made.write_text("done")
        written = {"name": "first"}
        twins.record(written, works[0], [made])
        (layout.LEDGER / "first.json").write_text(json.dumps(written))
    others[0].join(60)
    assert found.get(timeout=5) == "first"
