"""Edits of params.yaml while a stage runs."""

import json
from pathlib import Path

import pytest

from dasm.errors import ConfigError
from pipeline import layout
from pipeline.steady import NAME, said, steady


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
    with steady():
        write(1, "# a comment\n")
        done.append(1)
    assert done == [1]


def test_values_that_change_while_a_stage_works_fail_it():
    done = []
    with pytest.raises(ConfigError, match=r"^params.yaml: must stay .* what this stage made meanwhile is not kept"):  # noqa: SIM117
        with steady():
            done.append(1)
            write(2)
    assert done == [1]


@pytest.mark.parametrize("spoilt", ["{", "[]", json.dumps({"digest": "x"})])
def test_values_that_were_never_checked_stop_a_stage_before_it_begins(spoilt):
    file().write_text(spoilt)
    with pytest.raises(ConfigError, match=r"^params.yaml: must stay as it is while stages run, [^\n]*$"), steady():
        pytest.fail("it begins")


def test_an_error_of_the_stage_itself_is_the_one_that_is_told():
    with pytest.raises(ZeroDivisionError), steady():
        write(2)
        1 / 0  # noqa: B018


def test_stages_by_hand_where_nothing_was_checked_are_let_through():
    file().unlink()
    with steady():
        write(2)
