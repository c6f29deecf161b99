"""Changing over to another study and back loses nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dasm.errors import ConfigError
from pipeline import params, studies
from pipeline.drivers import procs

STAGES = """\
stages:
  work:
    cmd: python -c "open('out.txt', 'w').write('${study}')"
    params: [study]
    outs: [out.txt]
"""
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def dvc(*arguments):
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT).stdout


@pytest.fixture
def two_studies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("study: one  # in force\n")
    Path("studies/two").mkdir(parents=True)
    Path("studies/two/params.yaml").write_text("study: two  # parked\n")
    Path("dvc.yaml").write_text(STAGES)
    dvc("init", "--no-scm", "-q")


@pytest.mark.usefixtures("two_studies")
def test_there_and_back_again_needs_no_work():
    dvc("repro")
    studies.main("two")
    assert params.read()["study"] == "two"
    assert not Path("studies/two").exists()
    assert sorted(file.name for file in Path("studies/one").iterdir()) == ["dvc.lock", "params.yaml"]
    dvc("repro")
    assert Path("out.txt").read_text() == "two"
    studies.main("one")
    assert Path("params.yaml").read_text() == "study: one  # in force\n", "edits and comments go along"
    assert Path("out.txt").read_text() == "one", "the artefacts are checked out"
    assert "up to date" in dvc("repro")


@pytest.mark.usefixtures("two_studies")
def test_studies_are_listed_and_unknown_ones_refused(capsys):
    studies.main()
    assert capsys.readouterr().out == "* one\n  two\n"
    with pytest.raises(ConfigError, match="study: must be one of one, two, got 'three'"):
        studies.main("three")
    studies.main("one")
    assert params.read()["study"] == "one", "the study in force stays in force"


@pytest.mark.usefixtures("two_studies")
def test_a_parked_study_is_never_written_over():
    """Whoever renames the study in force to the name of a parked one keeps both."""
    Path("studies/one").mkdir()
    Path("studies/one/params.yaml").write_text("study: one  # another\n")
    with pytest.raises(ConfigError, match=r"one is in force and must not be parked too, got studies/one/params\.yaml"):
        studies.main("two")
    assert Path("studies/one/params.yaml").read_text() == "study: one  # another\n"
    assert Path("params.yaml").read_text() == "study: one  # in force\n"


@pytest.mark.usefixtures("two_studies")
def test_notes_beside_a_parked_study_stay_where_they_are():
    Path("studies/two/notes.md").write_text("to be tried")
    studies.main("two")
    assert params.read()["study"] == "two"
    assert Path("studies/two/notes.md").read_text() == "to be tried"
    studies.main("one")
    assert params.read()["study"] == "one" and Path("studies/two/params.yaml").exists()


@pytest.mark.usefixtures("two_studies")
def test_a_study_whose_name_is_no_folder_is_not_parked():
    Path("params.yaml").write_text("study: mine/first\n")
    with pytest.raises(ConfigError, match="study must be at most 64 letters, digits, - and _ alone, got 'mine/first'"):
        studies.main("two")
    assert params.read()["study"] == "mine/first"


@pytest.mark.usefixtures("two_studies")
def test_a_parked_study_with_another_name_is_refused_before_anything_moves():
    Path("studies/two/params.yaml").write_text("study: other\n")
    with pytest.raises(ConfigError, match="study must be two, got other"):
        studies.main("two")
    assert params.read()["study"] == "one"


@pytest.mark.usefixtures("two_studies")
def test_a_study_does_not_change_under_a_driver():
    with procs.only_driver(), pytest.raises(ConfigError, match=r"^another driver runs in "):
        studies.main("two")
    assert params.read()["study"] == "one" and Path("studies/two/params.yaml").exists()


@pytest.mark.usefixtures("two_studies")
def test_artefacts_that_cannot_be_checked_out_are_not_passed_over():
    Path("studies/two/dvc.lock").write_text("spoilt: [")
    rule = r"^study: dvc must check out the artefacts of two, got 'exit status \d+' \("
    with pytest.raises(ConfigError, match=rule):
        studies.main("two")
