"""`check` on the default study, in a copy of the sources that may be edited."""

import shutil
from pathlib import Path

import pytest

from pipeline.__main__ import main
from pipeline.graph import listing
from pipeline.stages import check
from tests.graph import ROOT


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    for folder in ("dasm", "pipeline"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / file, tmp_path)
    monkeypatch.chdir(tmp_path)


def append(path, text):
    Path(path).write_text(Path(path).read_text() + text)


def meanwhile(monkeypatch, edit):
    """Edit something when the blueprint has been written and `check` is still at work."""
    monkeypatch.setattr(listing, "check_watched", lambda _: edit())


@pytest.mark.parametrize(
    ("path", "text"), [("params.yaml", "more: 1\n"), ("dasm/matching.py", "x = 1\n"), ("dasm/matching.py", "(")]
)
def test_what_changes_while_it_runs_fails_it(path, text, monkeypatch, capsys):
    """DVC would file the blueprint of before under what is there afterwards."""
    meanwhile(monkeypatch, lambda: append(path, text))
    assert main(["check"]) == 1
    said = f"error: {path}: must stay as it is while `check` runs, got 'others at its end' (start again)\n"
    assert capsys.readouterr().err == said


def test_comments_may_change_while_it_runs_and_code_that_is_no_part_of_the_study(monkeypatch, capsys):
    def edit():
        append("params.yaml", "# a comment\n")
        append("dasm/matching.py", "# a comment\n")
        append("dasm/networks/vgg.py", "x = 1\n")

    meanwhile(monkeypatch, edit)
    assert main(["check"]) == 0
    said = "digits: nothing wrong; 5 arms in 3 segments, judged at 2, 5, 10 images per class by convnet, mlp\n"
    assert capsys.readouterr() == (said, "")


def test_one_arm_and_one_segment_are_not_several():
    study = {
        "study": "alone",
        "chain": [{"k": 0, "next": 1}],
        "segment": {"s0": {"ipc": 7}},
        "benchmark": {"arms": ["dasm"], "states": [1], "networks": [{"name": "mlp"}]},
    }
    assert check.said(study) == "alone: nothing wrong; 1 arm in 1 segment, judged at 7 images per class by mlp"
