"""A tiny complete study through real `dvc repro`: artefacts, caching, invalidation, and a run that is killed."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import save_file

import dasm
from dasm.coresets import Guide
from dasm.coresets.random import Random
from dasm.data import Dataset
from dasm.evaluate import Protocol, evaluate
from dasm.evaluators import Evaluators
from dasm.images.store import read_task
from dasm.matching import Matching
from dasm.networks import Network
from dasm.plugins import build
from dasm.segments import SegmentPlan
from dasm.selection import Selection
from dasm.sequential import Sequential
from dasm.tables import read_segments
from pipeline import export, params
from tests.graph import ROOT
from tests.pictures import fill

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

GIVEN = Path("data/sets/given.safetensors")
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "DVC_NO_ANALYTICS": "1",
    "OMP_WAIT_POLICY": "passive",
}


def call(root, *command, **more):
    done = subprocess.run(command, cwd=root, env={**ENVIRONMENT, **more}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def tiny() -> dict:
    """The default study with one control, a coreset twice (picked, and from a file), two segments, next to no work."""
    study = params.read(ROOT / "params.yaml")
    network = {"name": "convnet", "width": 4, "depth": 2}
    study |= {"study": "tiny", "controls": ["idc"], "coresets": ["random", "given"]}
    study["method"] = {"idc": {"joint": True}, "given": {"coreset": {"name": "given", "path": str(GIVEN)}}}
    study["chain"] = study["rescore"] = study["chain"][:2]
    study["planned_ipc"] = 2
    study["segment"] = {f"s{k}": {"ipc": 1, "iterations": 30} for k in range(2)}
    study["evaluator"] |= {"networks": 2, "steps": 20, "teacher_steps": 10}
    study["evaluator"]["trainer"]["network"] = study["matching"]["trainer"]["network"] = network
    study["matching"]["objective"] |= {"real_batch": 8, "network_images": 64, "inner_iterations": 20}
    study["benchmark"] |= {
        "arms": ["dasm", "idc", "random", "given"],
        "states": [2],
        "networks": [network, {"name": "mlp", "width": 8}],
    }
    study["benchmark"]["protocol"] |= {"seeds": 2, "steps": 20}
    return study


def give(root: Path, study: dict) -> None:
    """Write what `random` picks into the file of a set made elsewhere: the last class first, and an image too many."""
    real = build(Dataset, study["data"], "data").load(study["seed"]).train
    rows = Random()(real, 3, study["seed"], Guide(readings=(), judge=lambda _: 0.0)).flip(0).flatten()
    (root / GIVEN).parent.mkdir(parents=True, exist_ok=True)
    save_file({"images": real.pixels(rows), "labels": real.labels[rows]}, root / GIVEN)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A copy of the project in which the tiny study has run."""
    root = tmp_path_factory.mktemp("project")
    for folder in ("dasm", "pipeline"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / file, root / file)
    give(root, tiny())
    with (root / "params.yaml").open("w") as file:
        YAML().dump(tiny(), file)
    # Every stage would do it again where Python may not write its caches.
    call(root, sys.executable, "-m", "compileall", "-q", "dasm", "pipeline")
    call(root, "dvc", "init", "-q", "--no-scm")
    call(root, "dvc", "repro", "-q")
    return root


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest() for path in files}


def test_the_pipeline_makes_what_the_library_makes_in_one_loop(root):
    study = params.read(root / "params.yaml")
    real = build(Dataset, study["data"], "data").load(study["seed"]).train
    method = Sequential(
        matching=build(Matching, study["matching"], "matching"),
        evaluators=build(Evaluators, study["evaluator"], "evaluator"),
        selection=build(Selection, study["selection"], "selection"),
        planned_ipc=study["planned_ipc"],
    )
    plans = [SegmentPlan(**study["segment"][f"s{k}"]) for k in range(2)]
    for ours, theirs in zip(
        method.distil(real, plans, study["seed"]), read_segments(root / "data/distilled/dasm/2"), strict=True
    ):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.sources, theirs.sources)


def test_a_stage_that_distils_against_a_window_loads_no_pandas(root, tmp_path):
    shutil.copytree(root, tmp_path / "copy", symlinks=True, ignore=shutil.ignore_patterns(".dvc"))
    code = (
        "import sys; from pipeline.__main__ import main\n"
        "assert main(['distill', 'dasm', '1']) == 0; sys.exit('pandas' in sys.modules)"
    )
    call(tmp_path / "copy", sys.executable, "-c", code, DASM_TWINS="0")


def test_a_joint_control_distils_the_prefixes_that_are_benchmarked_and_no_other(root):
    (joint,) = read_segments(root / "data/distilled/idc/2")
    assert (joint.ipc, joint.iterations) == (2, 60)
    assert list(digests(root / "data/distilled/idc/1")) == ["state.json"]
    assert json.loads((root / "data/distilled/idc/1/state.json").read_text()) == {
        "segments": 0,
        "images_per_class": 1,
        "iterations": 30,
    }
    costs = [json.loads((root / f"data/ledger/control-idc-{k}.json").read_text()) for k in range(2)]
    assert [cost["name"] for cost in costs] == ["control@idc-s0", "control@idc-s1"]
    assert costs[0]["flops"] == costs[0]["seconds"] == 0 < costs[1]["flops"]


@pytest.mark.deep
def test_a_joint_control_at_the_first_prefix_is_the_first_segment(root, tmp_path):
    """With first_window: all, DASM's first segment is joint IDC, here too; and so it need not be made twice."""
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, symlinks=True)
    (copy / "data/blueprint/arms/idc/prefix/1.json").write_text('{"due": true, "sources": {}}')
    (dasm,) = read_segments(copy / "data/distilled/dasm/1")
    for twins in ("0", "1"):
        shutil.rmtree(copy / "data/distilled/idc/1")
        ((code, _),) = run_in([copy], ["control", "idc", "0"], DASM_TWINS=twins)
        assert code == 0
        (idc,) = read_segments(copy / "data/distilled/idc/1")
        assert torch.equal(dasm.images, idc.images) and torch.equal(dasm.sources, idc.sources)
        cost = json.loads((copy / "data/ledger/control-idc-0.json").read_text())
        assert cost.get("taken_from") == {"0": None, "1": "distill@dasm-s0"}[twins]


def test_a_state_holds_the_files_of_the_state_before_it(root):
    first, second = (digests(root / f"data/distilled/dasm/{n}") for n in (1, 2))
    assert second["s0.parquet"] == first["s0.parquet"]
    assert set(second) == {"s0.parquet", "s1.parquet", "state.json"}


def test_results_have_a_row_for_every_network_and_seed(root):
    table = pq.read_table(root / "data/results/dasm/2.parquet").to_pylist()
    assert [(row["network"], row["seed"]) for row in table] == [("convnet", 0), ("convnet", 1), ("mlp", 0), ("mlp", 1)]
    assert all(row["prefix_ipc"] == 2 and row["stored_images"] == 20 for row in table)
    assert all(0 <= row["test"] <= 1 for row in table)


def test_a_set_made_elsewhere_is_judged_as_the_same_images_picked_here(root):
    """To the last bit: same protocol, networks and streams. Where they come from it cannot say."""
    picked, given = (pq.read_table(root / f"data/results/{arm}/2.parquet").to_pylist() for arm in ("random", "given"))
    own = ("arm", "content", "seconds")
    assert [{k: v for k, v in row.items() if k not in own} for row in given] == [
        {k: v for k, v in row.items() if k not in own} for row in picked
    ]
    for ours, theirs in zip(*(read_segments(root / f"data/distilled/{a}/2") for a in ("given", "random")), strict=True):
        assert torch.equal(ours.images, theirs.images) and torch.equal(ours.labels, theirs.labels)
        assert (ours.sources == -1).all() and (theirs.sources >= 0).all()
    recorded = dasm.load(root / "data/distilled/given/2").provenance[-1]["recipe"]
    assert recorded["files"] == json.loads((root / "data/blueprint/arms/given/coreset.json").read_text())["files"]
    assert ">given<" in (root / "reports/tiny/index.html").read_text()


def test_the_card_of_a_set_made_elsewhere_says_so(root, tmp_path, monkeypatch):
    monkeypatch.chdir(root)
    export.main("given", str(tmp_path / "out"))
    card = (tmp_path / "out/README.md").read_text()
    assert "20 images (2 per class), made elsewhere and judged as `given`" in card and "(unseen)" not in card
    assert "Made elsewhere; judged on `digits`. Licence of the set: unknown (ask its owner" in card
    assert "license: unknown\n" in card and "picked" not in card and "distilled by" not in card
    assert dasm.load(tmp_path / "out/images").content == dasm.load("data/distilled/given/2").content


def test_another_file_of_a_set_made_elsewhere_runs_that_set_again_and_nothing_else(root, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, symlinks=True)
    give(copy, tiny() | {"seed": 1})
    # Until it is checked, no stage reads it.
    ((code, said),) = run_in([copy], ["coreset", "given"])
    rule = f"{GIVEN}: must stay as it is while stages run, got another one than `check` had read"
    assert (code, said) == (
        1,
        [f"error: {rule} (`dvc repro` begins with `check`; by hand: `python -m pipeline check`)"],
    )
    assert stale(copy) == {"check"}
    ran = re.findall(r"Running stage '(.+)'", call(copy, "dvc", "repro"))
    assert ran == ["check", "coreset@given", "benchmark@given-2", "diagnose", "report"]


def test_a_file_that_does_not_go_with_the_images_is_refused_before_anything_runs(root, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, symlinks=True, ignore=shutil.ignore_patterns(".dvc"))
    save_file({"images": torch.zeros(20, 3, 8, 8), "labels": torch.arange(20) % 10}, copy / GIVEN)
    rule = "images must have the channels, height and width of the study's, (1, 8, 8), got (3, 8, 8)"
    for command in (["check"], ["walk", "1"]):
        ((code, said),) = run_in([copy], command)
        assert (code, said) == (1, [f"error: {GIVEN}: {rule}"])


@pytest.mark.deep
def test_scores_made_elsewhere_rank_as_if_they_were_made_here(root, tmp_path):
    """Those of state 0 of another arm, by way of where its images stand in the data set, in another order."""
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, symlinks=True)
    first, images = (pq.read_table(copy / f"data/{name}.parquet") for name in ("difficulty/dasm/0", "images"))
    assert first["index"] == images["index"] and first["label"] == images["label"]
    scores = pa.table({"origin": images["origin"], "label": images["label"], "score": first["score"]})
    order = np.random.default_rng(0).permutation(len(scores))
    path = copy / "data/sets/scores.parquet"
    pq.write_table(scores.take(order), path)

    def tell(study):
        told = {"score": {"name": "given", "path": "data/sets/scores.parquet"}, "first_window": "window"}
        study.update(arms=["dasm", "told"])
        study["method"]["told"] = {"selection": told}
        study["benchmark"]["arms"].append("told")

    edit(copy, tell)
    call(copy, "dvc", "repro", "-q", "benchmark@told-2")
    for state in (0, 1):
        table = pq.read_table(copy / f"data/difficulty/told/{state}.parquet")
        assert table["score"] == first["score"] and table["rank"] == first["rank"]
        assert set(table["spread"].to_pylist()) == {0.0}
    assert 0 < sum(np.array(table["weight"]) > 0) < len(table)
    # A row of another class, and DVC asks before any stage does.
    pq.write_table(scores.set_column(1, "label", pa.array(np.roll(scores["label"], 1))), path)
    ((code, (said,)),) = run_in([copy], ["check"])
    assert code == 1 and said.startswith("error: data/sets/scores.parquet: label must be the class of every image, got")
    pq.write_table(scores.set_column(2, "score", pa.array(-np.array(scores["score"]))), path)
    ((code, (said,)),) = run_in([copy], ["score", "told", "0"])
    assert code == 1 and said.startswith("error: data/sets/scores.parquet: must stay as it is while stages run")
    ran = re.findall(r"Running stage '(.+)'", call(copy, "dvc", "repro", "distill@told-s0"))
    assert ran == ["check", "begin@told", "distill@told-s0"]


def test_a_set_handed_on_gives_the_accuracies_of_the_benchmark(root, tmp_path, monkeypatch):
    """Through files alone: no segment, class name or statistic comes from anywhere else."""
    monkeypatch.chdir(root)
    export.main("dasm", str(tmp_path / "out"), "2")
    study, task = params.read(root / "params.yaml"), read_task(root / "data/real")
    protocol = build(Protocol, study["benchmark"]["protocol"], "protocol")
    training = dasm.load(tmp_path / "out/images").labelled()
    found = [
        (options["name"], result.seed, result.validation, result.test)
        for options in study["benchmark"]["networks"]
        for result in evaluate(protocol, build(Network, options, "network"), [training], task, study["seed"])
    ]
    table = pq.read_table(root / "data/results/dasm/2.parquet").to_pylist()
    assert found == [(row["network"], row["seed"], row["validation"], row["test"]) for row in table]


@pytest.mark.deep
def test_a_finished_study_grows_by_a_segment_and_redoes_nothing(root, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, symlinks=True)
    before = digests(copy / "data")
    call(copy, sys.executable, "-m", "pipeline", "plan", "3")
    news = {"distill@dasm-s2", "train@dasm-s2", "score@dasm-s2", "experts@dasm-s2", "control@idc-s2"}
    news |= {f"benchmark@{arm}-3" for arm in ("dasm", "idc", "random", "given")}
    # A coreset is made anew, in seconds, and its first segments come out as they were.
    coresets = {"coreset@random", "coreset@given"}
    ran = re.findall(r"Running stage '(.+)'", call(copy, "dvc", "repro", "distill@dasm-s2", *sorted(coresets)))
    assert set(ran) == {"check", "distill@dasm-s2"} | coresets
    # These two look at all sets there are, and take seconds.
    assert stale(copy) == news - set(ran) | {"diagnose", "report"}, "nothing else is left to do"
    after = digests(copy / "data")
    # Of the blueprint, what is said of the study as a whole: no stage depends on it.
    anew = {f"blueprint/{name}.json" for name in ("study", "needs", "arms/random/coreset", "arms/given/coreset")}
    anew |= {f"ledger/coreset-{arm}.json" for arm in ("random", "given")}
    assert {name for name in before if after[name] != before[name]} <= anew
    for arm in ("dasm", "random", "given"):
        for file in ("s0.parquet", "s1.parquet"):
            assert after[f"distilled/{arm}/3/{file}"] == before[f"distilled/{arm}/2/{file}"]
    assert (
        dasm.load(copy / "data/distilled/dasm/3", prefix_ipc=2).content
        == dasm.load(root / "data/distilled/dasm/2").content
    )


@pytest.mark.deep
def test_uneven_classes_with_wrong_labels_go_through_every_stage(root, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, symlinks=True)
    noisy = {"name": "noisy", "share": 0.2, "of": tiny()["data"]}
    edit(copy, lambda study: study.update(study="wrapped", data={"name": "long_tailed", "factor": 10, "of": noisy}))
    call(copy, "dvc", "repro", "-q")
    before, after = digests(root / "data/real"), digests(copy / "data/real")
    same = {name for name in before if after[name] == before[name]}
    assert same == {f"{split}.{kind}.npy" for split in ("validation", "test") for kind in ("images", "labels")}
    assert set(after) - set(before) == {"train.truth.npy"}
    sizes = read_task(copy / "data/real").train.labels.bincount().tolist()
    assert sizes == sorted(sizes, reverse=True) and max(sizes) // 10 == min(sizes)
    page = (copy / "reports/wrapped/index.html").read_text()
    assert f"real images ({min(sizes)} to {max(sizes)} per class, 19.9 % labelled wrongly on purpose)." in page


@pytest.mark.deep
def test_pictures_that_change_are_read_again_and_by_themselves(root, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(root, copy, symlinks=True)
    fill(tmp_path / "elsewhere", {f"{name}/{i}.png": i for name in ("cat", "dog") for i in range(12)})
    (copy / "data/pictures").symlink_to(tmp_path / "elsewhere")
    pictures = {"name": "image_folder", "root": "data/pictures", "size": 8, "color": "grey"}
    edit(copy, lambda study: study.update(data=pictures, watch="data/pictures", coresets=["random"]))
    edit(copy, lambda study: study["benchmark"]["arms"].remove("given") or study["method"].pop("given"))

    def train_images():
        call(copy, "dvc", "repro", "-q", "prepare")
        return len(np.load(copy / "data/real/train.labels.npy"))

    first = train_images()
    assert "prepare" not in stale(copy)
    fill(tmp_path / "elsewhere", {f"dog/{i}.png": i for i in range(12, 20)})
    assert "prepare" in stale(copy)
    assert train_images() > first
    (tmp_path / "elsewhere/cat/3.png").write_bytes(b"")
    said = subprocess.run(["dvc", "repro"], cwd=copy, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert "error: data/pictures/cat/3.png: must be a readable image (0 bytes)" in said.stdout + said.stderr
    fill(tmp_path / "elsewhere", {"cat/3.png": 3})  # as it was: DVC brings back what was read then
    assert train_images() > first and "prepare" not in stale(copy)
    # To DVC's cache of runs two values of a parameter called `size` are one, and so are 0 and 0.0.
    for side in (6, 8):
        edit(copy, lambda study, side=side: study["data"].update(size=side))
        assert train_images() > first and read_task(copy / "data/real").train.image_shape == (1, side, side)


def test_the_report_and_metrics_are_there(root):
    assert (root / "reports/tiny/index.html").stat().st_size > 10_000
    assert json.loads(call(root, "dvc", "metrics", "show", "--json"))


def test_a_second_run_does_nothing(root):
    assert "Data and pipelines are up to date" in call(root, "dvc", "repro")


def stale(root: Path) -> set[str]:
    return set(json.loads(call(root, "dvc", "status", "--json")))


def edit(root: Path, change) -> None:
    study = params.read(root / "params.yaml")
    change(study)
    with (root / "params.yaml").open("w") as file:
        YAML().dump(study, file)


def test_a_change_to_one_segment_leaves_the_earlier_ones(root):
    before = (root / "params.yaml").read_text()
    edit(root, lambda study: study["segment"]["s1"].update(iterations=31))
    changed = stale(root)
    assert {"distill@dasm-s1", "control@idc-s1"} <= changed
    # The check and the report read all parameters: seconds each.
    assert changed - {"distill@dasm-s1", "control@idc-s1"} <= {"check", "report"}
    (root / "params.yaml").write_text(before)
    assert stale(root) == set()


@pytest.mark.deep
def test_a_new_plug_in_and_a_comment_run_nothing_but_the_check(root):
    matching, lock = root / "dasm/matching.py", root / "dvc.lock"
    before, locked = matching.read_text(), lock.read_text()
    (root / "dasm/windows/unrelated.py").write_text((root / "dasm/windows/all.py").read_text())
    matching.write_text(f"# A comment.\n{before}")
    ran = re.findall(r"Running stage '(.+)'", call(root, "dvc", "repro"))
    assert ran == ["check"]
    (root / "dasm/windows/unrelated.py").unlink()
    matching.write_text(before)
    lock.write_text(locked)


@pytest.mark.deep
def test_a_killed_stage_goes_on_where_it_was_and_ends_with_the_same_bytes(root):
    """SIGKILL in the middle of a segment, at least two checkpoints in."""
    whole = digests(root / "data/distilled/dasm/2")
    command = [sys.executable, "-m", "pipeline", "distill", "dasm", "1"]
    environment = {**ENVIRONMENT, "DASM_CHECKPOINT_SECONDS": "0"}
    shutil.rmtree(root / "data/distilled/dasm/2")
    for _ in range(2):  # killed twice
        known = {path: path.stat().st_mtime_ns for path in (root / ".checkpoints").glob("*.safetensors")}
        with subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None:
                saved = list((root / ".checkpoints").glob("*.safetensors"))
                if any(path.stat().st_mtime_ns != known.get(path) for path in saved):
                    process.send_signal(signal.SIGKILL)
                time.sleep(0.005)
        assert process.returncode == -signal.SIGKILL, "it was still at work"
    assert not (root / "data/distilled/dasm/2").exists(), "nothing half-written"
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    assert "goes on at iteration" in done.stderr
    assert digests(root / "data/distilled/dasm/2") == whole
    assert not list((root / ".checkpoints").glob("*.safetensors")), "the finished work's checkpoint is gone"


def test_two_runs_give_the_same_bytes(root):
    """Same seed, same machine: every Parquet file, and the networks."""
    patterns = ("evaluators/dasm/1/*.safetensors", "difficulty/dasm/1.parquet", "results/dasm/2.parquet")
    before = {path: path.read_bytes() for pattern in patterns for path in (root / "data").glob(pattern)}
    assert len(before) >= 2 + 1 + 1
    for path in before:
        path.unlink()
    commands = (["train", "dasm", "1"], ["score", "dasm", "1"], ["benchmark", "dasm", "2"])
    codes = run_in([root] * 3, *commands, DASM_TWINS="0")
    assert [code for code, _ in codes] == [0, 0, 0]
    assert {path: path.read_bytes() for path in before} == before


def run_in(folders, *commands, **environment):
    """Run commands of the pipeline one after another, each in its folder; return exit code and lines on stderr."""
    # One process: starting one costs more than all the work it does here.
    code = (
        "import json, os, sys; from pipeline.__main__ import main\n"
        "for folder, command in json.loads(sys.argv[1]):\n"
        "    os.chdir(folder); code = main(command); print(f'exit {code}', file=sys.stderr)"
    )
    work = json.dumps([(str(folder), command) for folder, command in zip(folders, commands, strict=True)])
    done = subprocess.run(
        [sys.executable, "-c", code, work],
        cwd=folders[0],
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    parts = re.findall(r"(.*?)exit (\d+)\n", done.stderr, re.DOTALL)
    return [(int(code), said.splitlines()) for said, code in parts]


def _diverging(root):
    def rates(study):
        study["matching"]["learning_rate"] = study["matching"]["trainer"]["recipe"]["learning_rate"] = 1e9

    edit(root, rates)


DAMAGES = {
    "s0.parquet: must be a readable": lambda root: (root / "data/distilled/dasm/1/s0.parquet").write_bytes(b"PAR1"),
    "must have at least 1200 training images, got": lambda root: edit(
        root, lambda s: s["matching"].update(factor=1) or s["segment"]["s1"].update(ipc=1200)
    ),
    "distill@dasm-s1: iteration ": _diverging,
    "data/real: must be a prepared data set": lambda root: (root / "data/real/meta.json").unlink(),
}


def test_bad_input_gets_one_line_and_exit_code_one(root, tmp_path):
    copies = [tmp_path / str(number) for number in range(len(DAMAGES))]
    for copy, damage in zip(copies, DAMAGES.values(), strict=True):
        shutil.copytree(root, copy, symlinks=True, ignore=shutil.ignore_patterns(".dvc"))
        damage(copy)
        (copy / "data/blueprint/study.json").unlink(missing_ok=True)  # or the edit itself would be refused
    ended = run_in(copies, *[["distill", "dasm", "1"] for _ in copies])
    for (code, said), expected in zip(ended, DAMAGES, strict=True):
        assert code == 1
        assert len(said) == 1
        assert expected in said[0]
