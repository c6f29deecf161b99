"""What the sets hold: the stage that measures it, and the section of the report."""

import math
import re

import pandas as pd
import pytest
import torch

from dasm import diagnosis as measured
from dasm.errors import ConfigError
from dasm.segments import stored_segment
from dasm.storage.networks import write_networks
from dasm.train import Trainer
from dasm.types import Task
from pipeline import layout, report
from pipeline import params as parameters
from pipeline.reporting import diagnosis, drawing, holdings
from pipeline.reporting.page import render
from pipeline.stages import diagnose
from pipeline.work.states import write_state
from tests.conftest import make_blobs
from tests.pipeline.made_up import make_study, rewrite, scope


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "svg", lambda *_: "")
    monkeypatch.setattr(drawing, "png", lambda *_: b"")
    make_study(tmp_path)
    return tmp_path


def section(root):
    folder = report.write(root, parameters.read(root / "params.yaml"))
    (found,) = re.findall(r'<section id="holds">.*?</section>', (folder / "index.html").read_text(), re.DOTALL)
    return found


def cells(html, arm):
    (row,) = re.findall(rf'<tr[^>]*><th scope="row">{arm}</th>(.*?)</tr>', html, re.DOTALL)
    return [re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]


def test_the_parts_are_those_that_are_measured():
    assert holdings.PARTS == measured.PARTS


def test_a_row_by_hand(study):
    def sets(rows):
        mine = (rows["arm"] == "dasm") & (rows["prefix_ipc"] == 6)
        rows.loc[mine, ["easy", "middle", "hard", "diversity"]] = [0.5, 0.25, 0.125, 3.5]

    def segments(rows):
        mine = (rows["arm"] == "dasm") & (rows["prefix_ipc"] == 6)
        rows.loc[mine, "similarity"] = [0.1, 0.2, 0.3]
        rows.loc[mine, "overlap"] = [math.nan, 0.4, -0.2]
        rows.loc[mine, "moved"] = [1.0, 7.0, 5.0]

    def ranks(rows):
        rows["rank"] = [n / 30 for n in range(30)]

    def right(rows):
        # Two of three seeds know the easy third, one the middle, none the hard; of another network all of it.
        patterns = {0: [True] * 20 + [False] * 10, 1: [True] * 10 + [False] * 20, 2: [False] * 30}
        rows["test_right"] = [
            patterns[seed] if network == "convnet" else [True] * 30
            for network, seed in zip(rows["network"], rows["seed"], strict=True)
        ]

    rewrite(study / "data/diagnosis/sets.parquet", sets)
    rewrite(study / "data/diagnosis/segments.parquet", segments)
    rewrite(study / "data/diagnosis/test.parquet", ranks)
    rewrite(study / "data/results/dasm/3.parquet", right)
    rewrite(study / "data/results/full.parquet", right)
    html = section(study).replace("\N{MINUS SIGN}", "-")
    assert cells(html, "dasm") == ["50.0", "25.0", "12.5", "3.5 of 6", "0.20", "0.10", "5.0", "66.7", "33.3", "0.0"]
    assert cells(html, "all real data")[1:] == ["66.7", "33.3", "0.0"]
    assert [cells(html, arm)[5] for arm in ("idc",)] == ["\N{EN DASH}"], "a joint set has one segment"
    table = pd.read_csv(study / "reports/toy/holdings.csv").set_index(["arm", "prefix_ipc"])
    assert len(table) == 5 * 3
    row = table.loc["dasm", 6]
    assert row[["images", *holdings.COVERAGE, "diversity"]].tolist() == [6, 50, 25, 12.5, 3.5]
    assert row["moved"] == 5, "the root of the mean of 1, 49 and 25"
    assert math.isnan(table.loc["random", 6]["moved"])
    assert row[["similarity", "overlap"]].tolist() == pytest.approx([0.2, 0.1])  # segments of two images per class each
    assert row[[*holdings.RIGHT]].tolist() == pytest.approx([66.6667, 33.3333, 0])
    parts = pd.read_parquet(study / "data/diagnosis/segments.parquet").query("arm == 'dasm' and prefix_ipc == 6")
    assert row["nearest"] == pytest.approx(parts["difficulty"].mean(), abs=1e-4)
    assert math.isnan(table.loc["dasm", 2]["overlap"]) and math.isnan(table.loc["idc", 6]["overlap"])


def test_every_arm_has_a_row_at_the_largest_size(study):
    html = section(study)
    for arm in scope(study).arms:
        assert cells(html, arm)[3].endswith(" of 6")


def test_many_arms_are_folded_without_a_figure(study):
    page = {
        "number": {kind: lambda: 1 for kind in ("table", "figure")},
        "scope": scope(study),
        "prefixes": [6],
        **diagnosis.diagnosis(study, scope(study), holdings.holdings(study, scope(study)), drawn=False),
    }
    html = render("diagnosis.html", page)
    assert "<details><summary>All 5 arms" in html and "<figure" not in html


def test_the_figure_has_a_step_for_every_segment(study, monkeypatch):
    drawn = []
    monkeypatch.setattr(drawing, "svg", lambda figure, name: drawn.append((name, figure)) or "<svg>")
    html = section(study)
    (figure,) = [figure for name, figure in drawn if name.startswith("How hard the real images")]
    steps = [patch.get_data() for patch in figure.axes[0].patches]
    assert [len(step.values) for step in steps] == [3, 3, 1, 3, 3]
    rows = pd.read_parquet(study / "data/diagnosis/segments.parquet")
    mine = rows[(rows["arm"] == "dasm") & (rows["prefix_ipc"] == 6)]
    assert steps[0].values.tolist() == mine["difficulty"].tolist()
    assert steps[0].edges.tolist() == [0, 2, 4, 6] and steps[2].edges.tolist() == [0, 6]
    assert '<figure class="wide"><svg>' in html


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        (
            "diagnosis/sets.parquet",
            lambda rows: rows[rows["arm"] != "idc"],
            "diagnosis: must hold idc at 2 images per class once, got 0",
        ),
        ("diagnosis/test.parquet", lambda rows: rows[:9], "must say of 9 test images who is right, got 30"),
        ("diagnosis/segments.parquet", lambda rows: rows.drop(columns="overlap"), "must have the columns arm"),
        ("results/full.parquet", lambda rows: rows.drop(columns="test_right"), "must have the columns network, test_"),
    ],
)
def test_what_does_not_fit_is_named(study, file, change, words):
    path = study / "data" / file
    change(pd.read_parquet(path)).to_parquet(path)
    with pytest.raises(ConfigError, match=words):
        section(study)


@pytest.fixture
def sets(tmp_path, monkeypatch, trainer: Trainer):
    """Two arms of two segments, and a joint one: a set of its own at each size."""
    monkeypatch.chdir(tmp_path)
    real = make_blobs(16, 0)
    task = Task(train=real, validation=make_blobs(4, 1), test=make_blobs(6, 2))
    recipe = {"batch_size": 16, "learning_rate": 0.05, "augmentation": ["color", "crop"], "cutmix": 0.5}
    network = {"name": "convnet", "width": 4, "depth": 2}
    study = {
        "seed": 3,
        "evaluator": {
            "networks": 2,
            "steps": 4,
            "teacher_steps": 4,
            "trainer": {"network": network, "recipe": recipe},
        },
        "arms": ["dasm"],
        "controls": ["idc"],
        "coresets": ["random"],
        "benchmark": {"states": [1, 2]},
    }
    monkeypatch.setattr("pipeline.work.runtime.start", lambda **_: (study, "cpu"))
    monkeypatch.setattr(diagnose, "read_task", lambda *_: task)
    write_networks(layout.TEACHERS, [trainer.train(real, 4, stream) for stream in (0, 1)])
    for arm, joint in (("dasm", False), ("idc", True), ("random", False)):
        for state in (1, 2):
            size = 2 if not joint else 2 * state
            first = 0 if joint else 2 * (state - 1)
            rows = torch.stack([real.members(label)[first : first + size] for label in range(3)])
            images = real.images[rows.flatten()] if arm == "random" else 255 - real.images[rows.flatten()]
            segment = stored_segment(
                images, rows, index=0 if joint else state - 1, factor=1, lower=0.0, upper=1.0, iterations=0
            )
            before = None if joint or state == 1 else layout.distilled(arm, state - 1)
            write_state(layout.distilled(arm, state), before, segment, real, arm=arm, recipe={})
    return study


@pytest.mark.usefixtures("sets")
def test_the_stage_measures_every_benchmarked_set():
    diagnose.main()
    found = pd.read_parquet(layout.DIAGNOSIS / "sets.parquet").set_index(["arm", "prefix_ipc"])
    assert [*found.index] == [(arm, size) for arm in ("dasm", "idc", "random") for size in (2, 4)]
    segments = pd.read_parquet(layout.DIAGNOSIS / "segments.parquet")
    assert segments.groupby(["arm", "prefix_ipc"]).size().to_dict() == {
        ("dasm", 2): 1,
        ("dasm", 4): 2,
        ("idc", 2): 1,
        ("idc", 4): 1,
        ("random", 2): 1,
        ("random", 4): 2,
    }
    # Real images are nearer to real ones than their negatives are.
    parts = [*measured.PARTS]
    assert found.loc[("random", 4), parts].mean() > found.loc[("dasm", 4), parts].mean()
    # The same images in one segment or two are the same set.
    for name in (*parts, "diversity", "images"):
        assert found.loc[("dasm", 4), name] == pytest.approx(found.loc[("idc", 4), name])
    assert len(pd.read_parquet(layout.DIAGNOSIS / "test.parquet")) == 18
    assert (layout.LEDGER / "diagnose.json").exists()


@pytest.mark.usefixtures("sets")
def test_the_stage_sees_a_segment_once_and_repeats_itself(monkeypatch):
    seen = []
    see = measured.Landmarks.see
    monkeypatch.setattr(measured.Landmarks, "see", lambda self, images: seen.append(len(images)) or see(self, images))
    diagnose.main()
    once = {file.name: file.read_bytes() for file in layout.DIAGNOSIS.iterdir()}
    assert sorted(seen) == sorted(2 * [6, 6, 6, 12, 6, 6]), "two networks; a joint set is another one at every size"
    diagnose.main()
    assert {file.name: file.read_bytes() for file in layout.DIAGNOSIS.iterdir()} == once


def test_the_networks_are_averaged(sets):
    diagnose.main()
    both = pd.read_parquet(layout.DIAGNOSIS / "sets.parquet")["diversity"]
    one = []
    for number in (0, 1):
        sets["evaluator"]["networks"] = 1
        (layout.TEACHERS / f"e{number}-t0.safetensors").rename(layout.TEACHERS / "e0-t0.safetensors.kept")
        kept = (layout.TEACHERS / "e0-t0.safetensors.kept").read_bytes()
        (layout.TEACHERS / "e0-t0.safetensors").write_bytes(kept)
        diagnose.main()
        one.append(pd.read_parquet(layout.DIAGNOSIS / "sets.parquet")["diversity"])
    # Ranks of difficulty differ with the networks; diversity does not depend on them.
    assert both.tolist() == pytest.approx(((one[0] + one[1]) / 2).tolist())
