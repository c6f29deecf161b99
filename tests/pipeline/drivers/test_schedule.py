"""The order of stages, what is passed over, and who is to blame: with nobody who runs anything."""

import pytest

from pipeline.drivers.schedule import Schedule, Slots, Verdict
from pipeline.graph import dag

PARENTS = {
    "real": set(),
    "aside": {"real"},
    "joint": {"real"},
    "s0": {"real"},
    "s1": {"s0"},
    "s2": {"s1"},
    "end": {"s2", "joint"},
}


def walked(dirty, verdicts=None, jobs=1):
    """Run stages that end in the order in which they began; return which began, and every verdict."""
    schedule, running, begun = Schedule(PARENTS, dirty), [], []
    while schedule.is_active():
        ready = schedule.ready()
        settled = [(stage, fate) for stage in ready if (fate := schedule.fate(stage))]
        for stage, fate in settled:
            schedule.end(stage, fate)
        for stage in [stage for stage in ready if stage in schedule.ready()][: jobs - len(running)]:
            schedule.begin(stage)
            running.append(stage)
            begun.append(stage)
        if running and not settled:
            stage = running.pop(0)
            schedule.end(stage, (verdicts or {}).get(stage, Verdict.DONE))
    return begun, schedule


def test_the_height_of_a_stage_is_the_longest_way_down():
    assert dag.heights(PARENTS) == {"real": 4, "aside": 0, "joint": 1, "s0": 3, "s1": 2, "s2": 1, "end": 0}


def test_the_longest_chain_goes_before_what_nothing_waits_for():
    begun, schedule = walked({*PARENTS})
    assert begun == ["real", "s0", "s1", "joint", "s2", "aside", "end"]
    assert set(schedule.verdicts.values()) == {Verdict.DONE}


def test_what_runs_is_not_ready_again():
    schedule = Schedule(PARENTS, {*PARENTS})
    assert schedule.ready() == schedule.ready() == ["real"]
    schedule.begin("real")
    assert schedule.ready() == [] and schedule.is_active()
    schedule.end("real", Verdict.DONE)
    assert schedule.ready() == ["s0", "joint", "aside"]


@pytest.mark.parametrize(
    ("dirty", "verdicts", "begun"),
    [
        (set(), {}, []),
        ({"s1"}, {}, ["s1", "s2", "end"]),
        ({"s1"}, {"s1": Verdict.UNCHANGED}, ["s1"]),  # DVC found that nothing had changed
    ],
)
def test_only_what_changed_is_run_and_what_follows_it(dirty, verdicts, begun):
    found, schedule = walked(dirty, verdicts)
    assert found == begun
    left = {*PARENTS} - {stage for stage in begun if stage not in verdicts}
    assert {*schedule.of(Verdict.UNCHANGED)} == left


def test_a_failure_stops_what_follows_it_and_is_to_blame():
    begun, schedule = walked({*PARENTS}, {"s1": Verdict.FAILED, "joint": Verdict.FAILED})
    assert begun == ["real", "s0", "s1", "joint", "aside"]
    assert schedule.of(Verdict.FAILED) == ["s1", "joint"]
    assert schedule.of(Verdict.SKIPPED) == ["s2", "end"]
    assert schedule.blame("s2") == {"s1"} and schedule.blame("end") == {"s1", "joint"}
    assert schedule.blame("s1") == set(), "it failed by itself"


def test_a_stage_on_a_gpu_waits_for_one_and_the_others_for_a_place():
    slots = Slots(3, ["0", "1"], {"a", "b", "c"})
    assert [slots.claim(stage) for stage in ("a", "b", "c", "d", "e")] == [
        {"CUDA_VISIBLE_DEVICES": "0"},
        {"CUDA_VISIBLE_DEVICES": "1"},
        None,
        {},
        None,
    ]
    slots.release({"CUDA_VISIBLE_DEVICES": "1"})
    assert slots.claim("c") == {"CUDA_VISIBLE_DEVICES": "1"}
    assert Slots(1, None, {"a"}).claim("a") == {}
    alone = Slots(1, ["0", "1"], {"a"})
    for _ in range(2):
        alone.release(given := alone.claim("a"))
        assert given == {"CUDA_VISIBLE_DEVICES": "0"}
