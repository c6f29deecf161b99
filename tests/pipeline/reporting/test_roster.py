"""Which group an arm competes in, and its description, for departures written by hand."""

import pytest
from ruamel.yaml import YAML

from pipeline.reporting.roster import Entry, homes, roster
from pipeline.reporting.scope import Scope
from tests.pipeline.made_up import BLOCKS, zoo

STRUCTURE = "chain: [{k: 0, next: 1}]\nrescore: []\nbenchmark: {states: [1], networks: [{name: convnet}]}\n"


def groups(arms):
    study = YAML(typ="safe").load(arms + BLOCKS + STRUCTURE)
    return roster(study, Scope.of(study))


def of(method, arms="arms: [dasm, x]\ncontrols: []\ncoresets: []\n"):
    """Return the group of arm x and what it is."""
    group, entry = homes(groups(f"study: s\n{arms}method: {method}\n"))["x"]
    return group, entry.what


def test_every_arm_of_a_zoo_has_its_group_and_the_reference_those_it_is_compared_in():
    found = {group: [entry.arm for entry in entries] for group, entries in groups(zoo()).items()}
    inside = ["dc", "dsa", "dm", "cafe", "ncfm", "mtt", "tesla", "datm", "sre2l"]
    assert found["reference"] == ["dasm"]
    assert found["objective"] == ["dasm", *inside]
    assert found["joint"] == ["idc", *(f"{name}-joint" for name in inside)]
    assert found["window"][0] == "dasm"
    assert {arm.split("-")[0] for arm in found["window"][1:]} == {"window"}
    assert [arm.split("-")[0] for arm in found["score"]] == ["dasm", *["score"] * 7]
    assert found["use"] == ["dasm", "initial-only", "matching-only"]
    assert found["evaluator"] == ["dasm", "evaluator-one", "evaluator-warm"]
    assert found["option"] == ["alone"]
    assert found["control"] == ["sequential"]
    assert "dasm" not in found["coreset"]
    assert "random" in found["coreset"]


def test_an_arm_is_described_by_what_it_changes_and_the_reference_by_what_others_change():
    found = groups(zoo())
    words = {(group, entry.arm): entry.what for group, entries in found.items() for entry in entries}
    assert words["objective", "dc"] == "dc, real_batch 32, learning_rate 10"
    assert words["joint", "idc"] == "gradient"
    assert words["window", "window-narrow"] == "budget, width 0.3"
    assert words["window", "window-hard_filter"] == "hard_filter, share 0.3"
    assert words["window", "dasm"] == "budget, width 0.7"
    assert words["score", "score-forgetting"] == "forgetting, snapshots 10"
    assert words["evaluator", "evaluator-warm"] == "start warm, order stagewise"
    assert words["evaluator", "dasm"] == "networks 3, start fresh, order shuffled"
    assert words["use", "initial-only"] == "windowed initial"
    assert words["use", "dasm"] == "windowed both"
    assert words["option", "alone"] == "match_prefix false"
    assert words["control", "sequential"] == "gradient"
    assert words["coreset", "core-el2n"] == "el2n"
    assert words["reference", "dasm"] == "objective gradient, score loss, window budget"


def test_a_note_goes_with_its_arm_alone():
    notes = {entry.arm: entry.note for entries in groups(zoo()).values() for entry in entries if entry.note}
    assert notes == {"sre2l": "Ten steps recover <nothing>."}


def test_a_note_that_says_why_is_for_arms_below_random():
    assert Entry(arm="a", what="", note="Why: too few steps.").excuse
    assert not Entry(arm="a", what="", note="R1: why not?").excuse


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("{selection: {window: {name: tail}}, matching: {objective: {name: dm}}}", ("objective", "dm, window tail")),
        ("{selection: {score: {name: el2n}, window: {name: tail}}}", ("window", "tail, score el2n")),
        ("{evaluator: {steps: 9}, selection: {score: {name: el2n}}}", ("score", "el2n, steps 9")),
        ("{matching: {objective: {metric: cosine}}}", ("objective", "gradient, metric cosine")),
        ("{selection: {first_window: window}}", ("use", "first_window window")),
        ("{matching: {objective: {augmentation: []}}}", ("objective", "gradient, augmentation none")),
        ("{matching: {objective: {augmentation: [flip, crop]}}}", ("objective", "gradient, augmentation flip+crop")),
        ("{matching: {learning_rate: null}}", ("option", "learning_rate not set")),
        ("{matching: {match_prefix: true}}", ("option", "")),
        # Stated options of another plug-in are shown even where the reference's own says the same.
        ("{matching: {objective: {name: dm, metric: l1}}}", ("objective", "dm, metric l1")),
    ],
)  # fmt: skip
def test_the_first_departure_decides(change, expected):
    assert of(f"{{x: {change}}}") == expected


def test_whom_images_are_ranked_among_belongs_to_the_window():
    assert of("{x: {selection: {ranks: all}}}") == ("window", "budget, ranks all")


def test_of_an_arm_with_a_window_it_is_said_that_it_is_joint():
    method = "{x: {joint: true, selection: {first_window: window, window: {name: hard_filter}}}}"
    assert of(method) == ("window", "hard_filter, first_window window, joint")
    said = "hard_filter, first_window window, joint, prefixes cut from one set"
    assert of(method.replace("true", "once")) == ("window", said)


def test_controls_and_coresets():
    controls = "arms: [dasm]\ncontrols: [x]\ncoresets: []\n"
    assert of("{x: {joint: true, matching: {objective: {name: dm}}}}", controls) == ("joint", "dm")
    assert of("{x: {joint: once}}", controls) == ("joint", "gradient, prefixes cut from one set")
    assert of("{x: {matching: {objective: {name: dm}}}}", controls) == ("control", "dm")
    coresets = "arms: [dasm]\ncontrols: []\ncoresets: [x]\n"
    assert of("{x: {coreset: {name: ccs, share: 0.1}}}", coresets) == ("coreset", "ccs, share 0.1")


def test_what_sets_apart_is_told_from_the_reference_not_from_the_shared_blocks():
    method = "{dasm: {selection: {window: {width: 0.3}}}}"
    assert of(method) == ("window", "budget, width 0.7")
