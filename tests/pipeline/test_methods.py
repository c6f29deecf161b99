"""Arms: what they share, where they depart from it, and departures that make no sense."""

import copy

import pytest

from dasm.errors import ConfigError
from pipeline import methods, params
from pipeline.study import parse
from tests.graph import ROOT

PARAMS = params.read(ROOT / "params.yaml")


def changed(**method):
    return {**copy.deepcopy(PARAMS), "method": method}


@pytest.mark.parametrize(
    ("shared", "change", "expected"),
    [
        ({"a": 1, "b": 2}, {"b": 3}, {"a": 1, "b": 3}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}, {"a": {"x": 1, "y": 3}}),
        ({"a": {"name": "p", "x": 1}}, {"a": {"x": 2}}, {"a": {"name": "p", "x": 2}}),
        ({"a": {"name": "p", "x": 1}}, {"a": {"name": "p", "y": 2}}, {"a": {"name": "p", "x": 1, "y": 2}}),
        ({"a": {"name": "p", "x": 1}}, {"a": {"name": "q", "y": 2}}, {"a": {"name": "q", "y": 2}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1}, {"b": {"c": 1}}, {"a": 1, "b": {"c": 1}}),
    ],
)
def test_a_departure_changes_key_by_key_and_another_plug_in_replaces_the_block(shared, change, expected):
    before = copy.deepcopy(shared)
    assert methods.merged(shared, change) == expected
    assert shared == before


def test_an_arm_without_departures_has_the_shared_blocks():
    for block in methods.BLOCKS["arms"]:
        assert methods.block(PARAMS, "dasm", block) == PARAMS[block]


def test_a_coreset_is_the_plug_in_of_its_name_unless_it_says_another():
    assert methods.block(PARAMS, "random", "coreset") == {"name": "random"}
    study = changed(random={"coreset": {"name": "mosaic"}})
    assert methods.block(study, "random", "coreset") == {"name": "mosaic"}


def test_effort_multiplies_the_iterations_and_nothing_else():
    study = changed(dasm={"effort": 2.5})
    for k, link in enumerate(PARAMS["chain"]):
        shared = PARAMS["segment"][f"s{link['k']}"]
        assert methods.plan(study, "dasm", k) == {"ipc": shared["ipc"], "iterations": round(2.5 * shared["iterations"])}
        assert methods.plan(study, "idc", k) == shared


def test_a_note_for_the_report_changes_no_block():
    noted = changed(dasm={"note": "why"}, idc={"joint": True, "note": "why"}, random={"note": "why"})
    parse(noted)
    for block in methods.BLOCKS["arms"]:
        assert methods.block(noted, "dasm", block) == PARAMS[block]


def test_an_arm_with_scores_may_be_joint_under_the_window_of_its_first_segment():
    filtered = changed(dasm={"joint": True, "selection": {"first_window": "window"}})
    parse(filtered)
    assert methods.is_joint(filtered, "dasm")


def test_joint_is_what_it_says():
    assert methods.is_joint(PARAMS, "idc") and not methods.is_joint(PARAMS, "sequential")
    once = changed(idc={"joint": "once", "effort": 2})
    parse(once)
    assert methods.is_joint(once, "idc") and methods.is_once(once, "idc") and not methods.is_once(PARAMS, "idc")
    last = len(PARAMS["chain"]) - 1
    assert {methods.distilled_plan(once, "idc", k)["ipc"] for k in range(last)} == {PARAMS["planned_ipc"]}
    assert methods.distilled_plan(once, "idc", 0) == methods.whole_plan(once, "idc", last)
    for k in range(last + 1):
        assert methods.distilled_plan(PARAMS, "idc", k) == methods.whole_plan(PARAMS, "idc", k)
        assert methods.distilled_plan(PARAMS, "dasm", k) == methods.plan(PARAMS, "dasm", k)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (
            {"dsam": {}},
            "method must describe arms, controls or coresets (dasm, sequential, idc, random, mosaic), got 'dsam'",
        ),
        ({"dasm": 3}, "method.dasm: must be a mapping, got 3"),
        (
            {"idc": {"selection": {}}},
            "method.idc: no option called 'selection' (controls have matching, effort, joint, note)",
        ),
        (
            {"dasm": {"joint": True}},
            "selection.first_window must be window for arm 'dasm', whose joint sets have no other, got 'all' (without",
        ),
        (
            {"dasm": {"joint": True, "evaluator": {"steps": 9}}},
            "method.dasm: no option called 'evaluator' (joint arms have matching, selection, effort, joint, note)",
        ),
        ({"random": {"joint": True}}, "method.random: no option called 'joint' (coresets have coreset, note)"),
        ({"dasm": {"effort": 0}}, "method.dasm.effort: must be in (0, 1000000], got 0"),
        ({"idc": {"effort": "much"}}, "method.idc.effort: must be in (0, 1000000], got 'much'"),
        ({"idc": {"effort": 1e308}}, "method.idc.effort: must be in (0, 1000000], got 1e+308"),
        ({"idc": {"effort": float("inf")}}, "method.idc.effort: must be in (0, 1000000], got inf"),
        ({"random": {"effort": 2}}, "method.random: no option called 'effort' (coresets have coreset, note)"),
        ({"idc": {"joint": 1}}, "method.idc.joint: must be true, false or once, got 1"),
        ({"idc": {"joint": "twice"}}, "method.idc.joint: must be true, false or once, got 'twice'"),
        ({"dasm": {"note": ["why"]}}, "method.dasm.note: must be text for the report, got ['why']"),
        ({"dasm": {"selection": {"window": {"width": 2.0}}}}, "method.dasm.selection.window: width must be in (0, 1]"),
        (
            {"dasm": {"matching": {"objective": {"name": "dn"}}}},
            "method.dasm.matching.objective: no objective called 'dn'",
        ),
        ({"random": {"coreset": {"name": "randm"}}}, "did you mean 'random'?"),
    ],
)
def test_a_departure_that_makes_no_sense_is_refused_by_name(method, expected):
    with pytest.raises(ConfigError) as caught:
        parse(changed(**method))
    assert expected in str(caught.value) and "\n" not in str(caught.value)
