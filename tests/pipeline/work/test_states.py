"""States grow by one segment: earlier files stay as they are, and every file names the one that it follows."""

import json
import shutil

import pytest
import torch

from dasm.errors import ConfigError
from dasm.tables import read_chain, segment_files
from pipeline import layout, params
from pipeline.work import recipes, states
from pipeline.work.states import write_state
from tests.conftest import make_blobs
from tests.graph import ROOT
from tests.handmade import digests, stored_images

REAL = make_blobs(4, seed=0, classes=2)
RECIPE = {"seed": 0, "segment": {"ipc": 2, "iterations": 7}}


def grow(root, count, **more):
    for n in range(count):
        before = root / str(n) if n else None
        segment = stored_images(n, channels=1)
        write_state(root / str(n + 1), before, segment, REAL, arm="dasm", recipe=RECIPE, **more)


def chain(folder):
    return [provenance for _, provenance in read_chain(segment_files(folder))]


def test_a_state_holds_the_files_of_the_state_before_it_and_one_more(tmp_path):
    grow(tmp_path, 3)
    first, second, third = (digests(tmp_path / str(n)) for n in (1, 2, 3))
    assert set(third) == {"s0.parquet", "s1.parquet", "s2.parquet", "state.json"}
    assert third["s0.parquet"] == second["s0.parquet"] == first["s0.parquet"]
    assert third["s1.parquet"] == second["s1.parquet"]
    summary = json.loads((tmp_path / "3/state.json").read_text())
    assert summary == {"segments": 3, "images_per_class": 6, "iterations": 21}


def test_what_lies_ahead_is_what_later_states_would_hold(tmp_path):
    grow(tmp_path / "a", 3)
    first, *rest = (stored_images(n, channels=1) for n in range(3))
    written = write_state(tmp_path / "b/1", None, first, REAL, arm="dasm", recipe=RECIPE, ahead=rest)
    assert [segment.index for segment, _ in written] == [0]
    whole, ahead = digests(tmp_path / "a/3"), digests(tmp_path / "b/1" / layout.AHEAD)
    assert ahead == {name: whole[name] for name in ("s1.parquet", "s2.parquet")}
    alone = digests(tmp_path / "a/1")
    assert {name: digest for name, digest in digests(tmp_path / "b/1").items() if name in alone} == alone
    assert len(segment_files(tmp_path / "b/1")) == 1


def test_growing_a_finished_set_writes_what_a_longer_run_would_have(tmp_path):
    grow(tmp_path / "a", 2)
    grow(tmp_path / "b", 3)
    before = digests(tmp_path / "a")
    third = stored_images(2, channels=1)
    write_state(tmp_path / "a/3", tmp_path / "a/2", third, REAL, arm="dasm", recipe=RECIPE)
    after = digests(tmp_path / "a")
    assert {name: after[name] for name in before} == before
    assert after == digests(tmp_path / "b")


def test_a_file_says_whom_it_follows_and_what_it_was_made_with(tmp_path):
    grow(tmp_path, 2, scores="abc")
    first, second = chain(tmp_path / "2")
    assert first["parent"] is None and second["parent"] == first["content"]
    assert second["recipe"] == RECIPE and second["params"] == params.digest(RECIPE)
    assert (second["arm"], second["scores"]) == ("dasm", "abc")
    assert second["class_names"] == list(REAL.class_names)
    assert second["mean"] == REAL.mean.tolist() and second["std"] == REAL.std.tolist()


def test_a_state_grows_from_what_was_read_or_written_as_from_its_files(tmp_path, monkeypatch):
    grow(tmp_path / "a", 3)
    with monkeypatch.context() as blind:
        blind.setattr(states, "read_chain", None)  # nothing is decoded again
        before, whole = None, []
        for n in range(3):
            segment, folder = stored_images(n, channels=1), tmp_path / "b" / str(n + 1)
            whole = write_state(folder, before, segment, REAL, arm="dasm", recipe=RECIPE, chain=whole)
            before = folder
    assert digests(tmp_path / "b") == digests(tmp_path / "a")
    found = read_chain(segment_files(tmp_path / "a/3"))
    assert [provenance for _, provenance in whole] == [provenance for _, provenance in found]
    assert all(torch.equal(ours.images, theirs.images) for (ours, _), (theirs, _) in zip(whole, found, strict=True))


def test_a_joint_state_follows_nothing(tmp_path):
    write_state(tmp_path / "2", None, stored_images(1, channels=1), REAL, arm="idc", recipe=RECIPE)
    (only,) = chain(tmp_path / "2")
    assert only["parent"] is None


def test_nothing_is_built_on_a_state_of_parts_of_different_sets(tmp_path):
    grow(tmp_path / "ours", 2)
    grow(tmp_path / "theirs", 2, scores="other")
    shutil.copy(tmp_path / "theirs/2/s0.parquet", tmp_path / "ours/2/s0.parquet")
    with pytest.raises(ConfigError, match=r"ours/2/s1\.parquet: must follow segment [0-9a-f]{12}, got segment "):
        grow_on = stored_images(2, channels=1)
        write_state(tmp_path / "ours/3", tmp_path / "ours/2", grow_on, REAL, arm="dasm", recipe=RECIPE)
    assert not list((tmp_path / "ours/3").glob("*.parquet"))


def test_a_recipe_is_what_the_stage_depends_on_and_no_more():
    """A study that grows must find the recipes of its first segments unchanged."""
    study = params.read(ROOT / "params.yaml")
    before = [recipes.distilled(study, "dasm", 2, 64), recipes.picked(study, "random", 2)]
    study["chain"].append({"k": 4, "next": 5})
    study["segment"]["s4"] = {"ipc": 9, "iterations": 9}
    study["benchmark"]["states"].append(5)
    study["selection"]["window"]["width"] = 0.5
    assert [recipes.distilled(study, "dasm", 2, 64), recipes.picked(study, "random", 2)] == before
    for key in ("seed", "threads", "planned_ipc"):
        assert recipes.distilled({**study, key: 7}, "dasm", 2, 64) != before[0]
    assert recipes.distilled(study, "idc", 2, 64) == {**before[0], "joint": True}
