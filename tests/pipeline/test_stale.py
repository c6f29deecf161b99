"""`stale`: what has to run and why, of stages and statuses made by hand."""

import json
from pathlib import Path

import pytest

from pipeline import layout, stale
from pipeline.__main__ import main
from pipeline.graph import dag
from pipeline.graph.templates import Stage


def stage(name, *deps, outs=None):
    made = (f"data/{name}", f"data/ledger/{name}.json") if outs is None else outs
    return Stage(name=name, cmd="", deps=deps, params=(), outs=made)


STAGES = [
    stage("check", "dasm", outs=("data/blueprint",)),
    stage("prepare", "data/blueprint/code/prepare.json"),
    stage("distill@a", "data/blueprint/arms/a/matching.json", "data/prepare"),
    stage("distill@b", "data/blueprint/arms/b/matching.json", "data/prepare"),
    stage("judge@a", "data/distill@a"),
    stage("judge@b", "data/distill@b"),
    stage("report", "data/judge@a", "data/judge@b", outs=("reports/index.html",)),
]
PARENTS = {one.name: {other.name for other in STAGES if one.follows(other)} for one in STAGES}


def deps(**changed):
    return {"changed deps": {path.replace("__", "/"): how for path, how in changed.items()}}


def matching(arm):
    return {"changed deps": {f"data/blueprint/arms/{arm}/matching.json": "modified"}}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layout.LEDGER.mkdir(parents=True)
    for name, seconds in {"prepare": 20.0, "distill@a": 600.5, "judge@a": 60.0, "judge@b": 61.0}.items():
        (layout.LEDGER / f"{name}.json").write_text(json.dumps({"seconds": seconds}))


def plan(**status):
    return stale.plan(PARENTS, {name.replace("__", "@"): said for name, said in status.items()}, STAGES)


def test_nothing_has_to_run_where_nothing_changed_and_check_has_run_already():
    for status in ({}, {"check": [deps(dasm="modified")]}):
        found = plan(**status)
        assert (found.reasons, found.follow, found.seconds, found.unknown) == ({}, [], 0.0, 0)
        but = " but `check`, which takes seconds" if status else ""
        assert stale.said(found) == f"nothing to do{but}: all 7 stages are up to date"


def test_what_follows_from_a_change_has_to_run_and_nothing_beside_it():
    found = plan(distill__a=[matching("a")])
    assert found.reasons == {"distill@a": ["its matching"]}
    assert found.follow == ["judge@a", "report"]
    assert found.seconds == 600.5 + 60 + 3 * stale._START and found.unknown == 0
    assert stale.said(found).splitlines() == [
        "3 of 7 stages have to run; about 11 min one after another, as last time",
        "  distill@a  its matching",
        "and, unless these come out as before, what follows from them: judge, report",
    ]


def test_stages_that_changed_alike_are_one_line_and_those_without_a_record_are_counted():
    found = plan(distill__a=[matching("a")], distill__b=[matching("b")])
    assert found.unknown == 1
    assert stale.said(found).splitlines() == [
        "5 of 7 stages have to run; about 12 min one after another, as last time; of 1 no time is on record",
        "  distill@a and 1 more  its matching",
        "and, unless these come out as before, what follows from them: judge (2), report",
    ]


def test_in_a_fresh_clone_stages_of_a_kind_are_one_line_and_no_time_is_known():
    for entry in layout.LEDGER.iterdir():
        entry.unlink()
    found = plan(**{one.name.replace("@", "__"): [{"changed outs": {"x": "deleted"}}] for one in STAGES[1:]})
    assert stale.said(found).splitlines() == [
        "6 of 7 stages have to run; of 5 no time is on record",
        "  prepare               what it made is not here",
        "  distill@a and 1 more  what it made is not here",
        "  judge@a and 1 more    what it made is not here",
        "  report                what it made is not here",
    ]


@pytest.mark.parametrize(
    ("status", "reasons"),
    [
        ([{"changed deps": {"data/blueprint/code/distill.json": "modified"}}], ["its code"]),
        ([{"changed deps": {"data/blueprint/benchmark.json": "modified"}}], ["benchmark"]),
        ([{"changed deps": {"params.yaml": {"seed": "modified", "threads": "modified"}}}], ["seed", "threads"]),
        ([{"changed deps": {"data/mine": "modified"}}, "changed command"], ["data/mine", "command"]),
        ([{"changed outs": {"data/distill@a": "deleted"}}], ["what it made is not here"]),
        ([{"changed outs": {"data/distill@a": "not in cache", "y": "deleted"}}], ["what it made is not here"]),
        ([{"changed outs": {"data/distill@a": "deleted", "y": "modified"}}], ["what it made is changed"]),
        (
            [{"changed deps": {"data/x": "deleted", "params.yaml": "new"}}, {"changed outs": {"y": "deleted"}}],
            ["has not run yet"],
        ),
        (["always changed"], ["always changed"]),
    ],
)
def test_reasons_in_words(status, reasons):
    assert plan(distill__a=status).reasons["distill@a"] == reasons


def test_what_another_stage_will_make_anew_is_no_reason_of_its_own():
    """DVC says that an input is another one where somebody has deleted it, and names both stages."""
    found = plan(prepare=[{"changed outs": {"data/prepare": "deleted"}}], distill__a=[deps(data__prepare="deleted")])
    assert [*found.reasons] == ["prepare"] and found.follow == [
        "distill@a",
        "distill@b",
        "judge@a",
        "judge@b",
        "report",
    ]


def test_it_checks_asks_dvc_and_says(monkeypatch, capsys):
    Path(".dvc").mkdir()
    ran = []
    monkeypatch.setattr("pipeline.stages.check.main", lambda: ran.append("check"))
    monkeypatch.setattr(dag, "survey", lambda: (PARENTS, {"distill@b": [matching("b")]}))
    monkeypatch.setattr("pipeline.stale.stages", lambda _: STAGES)
    monkeypatch.setattr("pipeline.params.read", dict)
    assert main(["stale"]) == 0
    assert ran == ["check"]
    assert capsys.readouterr().out.startswith(
        "3 of 7 stages have to run; about 67 s one after another, as last time; of 1"
    )


def test_without_a_project_it_says_so(capsys):
    assert main(["stale"]) == 1
    assert capsys.readouterr().err.startswith("error: no DVC project in ")


@pytest.mark.parametrize(("seconds", "said"), [(89, "89 s"), (91, "2 min"), (7100, "118 min"), (7300, "2.0 h")])
def test_durations(seconds, said):
    assert stale._duration(seconds) == said
