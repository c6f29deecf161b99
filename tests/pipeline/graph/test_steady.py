"""Edits of params.yaml, or of code, while a stage runs."""

import json
from pathlib import Path

import pytest

from dasm.errors import ConfigError
from pipeline import layout
from pipeline.graph import sources
from pipeline.graph.steady import NAME, said, steady

STAGE = ["distill", "dasm", "0"]
DVC_YAML = """
stages:
  distill:
    cmd: python -m pipeline distill dasm 0
    deps: [data/blueprint/code/distill.json, data/blueprint/arms/dasm/matching.json, data/real]
  score:
    cmd: python -m pipeline score dasm 0
    deps: [data/blueprint/code/score.json]
"""


@pytest.fixture(autouse=True)
def checked(tmp_path, monkeypatch):
    """A folder where `check` has read that the seed is 1."""
    monkeypatch.chdir(tmp_path)
    write(1)
    layout.BLUEPRINT.mkdir(parents=True)
    file().write_text(json.dumps(said({"seed": 1, "method": {"idc": {"joint": True}}})))


def file():
    return layout.BLUEPRINT / f"{NAME}.json"


def write(seed, comment=""):
    Path("params.yaml").write_text(f"{comment}seed: {seed}\nmethod:\n  idc: {{joint: true}}\n")


def test_a_study_that_stays_as_it_is_is_worked_on_and_comments_may_change():
    done = []
    with steady(STAGE):
        write(1, "# a comment\n")
        done.append(1)
    assert done == [1]


def test_values_that_change_while_a_stage_works_fail_it():
    done = []
    with pytest.raises(ConfigError, match=r"^params.yaml: must stay .* what this stage made meanwhile is not kept"):  # noqa: SIM117
        with steady(STAGE):
            done.append(1)
            write(2)
    assert done == [1]


@pytest.mark.parametrize("spoilt", ["{", "[]", json.dumps({"digest": "x"})])
def test_values_that_were_never_checked_stop_a_stage_before_it_begins(spoilt):
    file().write_text(spoilt)
    with pytest.raises(ConfigError, match=r"^params.yaml: must stay as it is while stages run, [^\n]*$"), steady(STAGE):
        pytest.fail("it begins")


def test_an_error_of_the_stage_itself_is_the_one_that_is_told():
    with pytest.raises(ZeroDivisionError), steady(STAGE):
        write(2)
        1 / 0  # noqa: B018


def test_stages_by_hand_where_nothing_was_checked_are_let_through():
    file().unlink()
    with steady(STAGE):
        write(2)


PARTS = {
    "code/distill": "pipeline/work/distillation.py",
    "arms/dasm/matching": "dasm/gradient.py",
    "code/score": "pipeline/scoring.py",
}


@pytest.fixture
def code():
    """What `check` has read of a module of the stage itself, of a plug-in of its arm, and of another stage."""
    Path("dvc.yaml").write_text(DVC_YAML)
    for part, name in PARTS.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("x = 1\n")
        part = layout.BLUEPRINT / f"{part}.json"
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({"options": None, "sources": sources.digests([Path(name)])}))
    file().write_text(file().read_text())  # last, as `check` puts the whole blueprint in its place


@pytest.mark.usefixtures("code")
@pytest.mark.parametrize("name", ["pipeline/work/distillation.py", "dasm/gradient.py"])
@pytest.mark.parametrize("text", ["x = 2\n", "x = ("], ids=["other", "half-saved"])
def test_code_of_the_stage_or_its_arm_that_changes_while_it_works_fails_it(name, text):
    rule = rf"^{name}: must stay as it is while stages run, got other code .* meanwhile is not kept [^\n]*$"
    with pytest.raises(ConfigError, match=rule), steady(STAGE):
        Path(name).write_text(text)
    with pytest.raises(ConfigError, match=rf"^{name}: must stay as it is"), steady(STAGE):
        pytest.fail("it begins")


@pytest.mark.usefixtures("code")
def test_comments_and_the_code_of_other_stages_may_change():
    with steady(STAGE):
        Path("pipeline/work/distillation.py").write_text("x = 1  # a comment\n")
        Path("pipeline/scoring.py").write_text("x = 2\n")


@pytest.mark.usefixtures("code")
def test_where_no_file_has_been_touched_nothing_is_read(monkeypatch):
    monkeypatch.setattr("pipeline.graph.steady.stages", lambda _: pytest.fail("which is what takes time"))
    written = file().stat().st_ctime
    monkeypatch.setattr("pipeline.graph.steady._changed", lambda path: written - (path != file()))
    with steady(STAGE):
        pass


def check_again(seed):
    """What `check` by hand does under a stage: it reads what is there by then."""
    file().write_text(json.dumps(said({"seed": seed, "method": {"idc": {"joint": True}}})))
    for part, name in PARTS.items():
        content = {"options": seed, "sources": sources.digests([Path(name)])}
        (layout.BLUEPRINT / f"{part}.json").write_text(json.dumps(content))


@pytest.mark.usefixtures("code")
def test_values_that_change_are_not_made_right_by_a_check_by_hand():
    with pytest.raises(ConfigError, match=r"^params.yaml: must stay .* meanwhile is not kept [^\n]*$"), steady(STAGE):
        write(2)
        check_again(2)


@pytest.mark.usefixtures("code")
def test_code_that_changes_is_not_made_right_by_a_check_by_hand():
    with pytest.raises(ConfigError, match=r"^dasm/gradient.py: must stay .* is not kept [^\n]*$"), steady(STAGE):
        Path("dasm/gradient.py").write_text("x = 2\n")
        check_again(1)


@pytest.mark.usefixtures("code")
def test_values_that_were_others_when_they_were_checked_by_hand_fail_the_stage_though_they_are_put_back():
    """DVC would file its results under the options that were checked last."""
    rule = r"^data/blueprint/code/distill.json: must stay .* meanwhile is not kept [^\n]*$"
    with pytest.raises(ConfigError, match=rule), steady(STAGE):
        check_again(2)


@pytest.mark.usefixtures("code")
def test_a_check_by_hand_that_reads_the_same_disturbs_nobody():
    check_again(1)
    with steady(STAGE):
        check_again(1)
