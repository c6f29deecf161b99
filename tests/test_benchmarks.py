"""What `python -m benchmarks` measures: ours as the product runs, the reference as torch comes, case by case."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch

from benchmarks import __main__ as benchmarks
from benchmarks import cases, measure
from benchmarks.measure import Measured, Row, compare, machine
from dasm.machine import counts
from dasm.machine.precision import repeatable

ROUNDS = torch.backends.cudnn.allow_tf32  # read before any test
CASES = ["match:digits", "steps:digits", "score:digits"]


@pytest.fixture
def _as_torch_comes(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_deterministic_debug_mode("default")
    torch.backends.cudnn.allow_tf32 = ROUNDS


@pytest.fixture(autouse=True)
def _small_product(monkeypatch):
    monkeypatch.setattr(measure, "_MATMUL", 64)


@pytest.mark.usefixtures("_as_torch_comes")
def test_ours_runs_repeatably_and_the_reference_as_torch_comes():
    assert ROUNDS, "as torch comes"
    seen = []

    def note(who):
        seen.append((who, torch.get_deterministic_debug_mode(), torch.backends.cudnn.allow_tf32))

    repeatable()
    compare(
        "case", {"ours": lambda: note("ours")}, reference=lambda: note("reference"), repeats=2, device="cpu", note=""
    )
    assert seen == [("ours", 2, False), ("reference", 0, True)] * 3, "once to count, twice in turns"
    note("afterwards")
    assert seen[-1] == ("afterwards", 2, False)
    told = machine("cpu")
    assert told["ours_runs_with"]["deterministic"] == "error"
    assert told["reference_runs_with"]["deterministic"] == "default"
    assert [told[f"{who}_runs_with"]["tf32"]["convolutions"] for who in ("ours", "reference")] == [False, True]


@pytest.mark.usefixtures("_as_torch_comes")
def test_a_reference_that_fails_leaves_torch_repeatable():
    def fail():
        raise RuntimeError("out of luck")

    repeatable()
    with pytest.raises(RuntimeError, match="out of luck"):
        compare("case", {}, reference=fail, repeats=1, device="cpu")
    assert torch.get_deterministic_debug_mode() == 2 and not torch.backends.cudnn.allow_tf32


def test_ours_is_counted_by_the_product_which_knows_of_replays():
    """The stand-in for a replay calls nothing that torch could count."""
    a = torch.ones(10, 10)
    row = compare(
        "case", {"ours": lambda: counts.count(flops=3 * 10**9)}, reference=lambda: a @ a, repeats=1, device="cpu"
    )
    assert row.ways["ours"].gflop == 3
    assert row.ways["reference"].gflop == pytest.approx(2e-6)
    assert row.matmul.gflop == pytest.approx(2 * 64**3 / 1e9)


@pytest.mark.parametrize("kind", ["match", "steps", "score"])
def test_on_a_cpu_both_counters_find_nearly_the_same_in_ours(kind, monkeypatch):
    found = []

    def both(case, ways, **_):
        found.append([counter(ways["ours"]) for counter in (measure._gflop, measure._gflop_of_torch)])
        return row(case)

    monkeypatch.setattr(cases, "compare", both)
    cases.CASES[kind]("digits", 1, "cpu")
    ((mine, theirs),) = found
    assert mine == pytest.approx(theirs, rel=0.02)


def row(case):
    return Row(case=case, note="", ways={"ours": Measured(seconds=[1.0], cpu_seconds=[1.0])})


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command with cases that cost nothing; gives those that were measured and the names in the file."""
    measured, state = [], SimpleNamespace(clock=0.0, killed="", fails={}, repeatable=False)

    def case(name):
        assert state.repeatable, "as a stage of the product"
        if name == state.killed:
            raise KeyboardInterrupt
        measured.append(name)
        if name in state.fails:
            raise state.fails[name]
        state.clock += 60
        return row(name)

    monkeypatch.setattr(benchmarks, "_RESULTS", tmp_path)
    monkeypatch.setattr(benchmarks, "repeatable", lambda: setattr(state, "repeatable", True))
    monkeypatch.setattr(benchmarks, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(benchmarks.time, "monotonic", lambda: state.clock)
    for kind in cases.CASES:
        monkeypatch.setitem(cases.CASES, kind, lambda setting, *_, kind=kind: case(f"{kind}:{setting}"))

    def called(*options, killed="", fails=None):
        measured.clear()
        state.killed, state.fails = killed, fails or {}
        only = () if "--only" in options else ("--only", ",".join(CASES))
        monkeypatch.setattr(sys, "argv", ["benchmarks", "--threads", "1", "--device", "cpu", *only, *options])
        if killed:
            with pytest.raises(KeyboardInterrupt):
                benchmarks.main()
        else:
            assert benchmarks.main() == bool(fails)
        rows = json.loads((tmp_path / "latest.json").read_text())["rows"]
        assert all({"when", "load", "case", "ways"} <= set(row) for row in rows)
        return measured, [row["name"] for row in rows]

    yield called
    torch.set_num_threads(1)


def test_a_run_that_is_killed_keeps_what_it_measured_and_goes_on(run, tmp_path):
    assert run(killed="score:digits") == (CASES[:2], CASES[:2])
    assert run() == (CASES[2:], CASES)
    assert run() == ([], CASES)
    assert [path.name for path in tmp_path.iterdir()] == ["latest.json"]


def test_again_measures_the_cases_picked_and_keeps_the_others(run):
    run()
    assert run("--again", "--only", "steps:digits") == (["steps:digits"], [CASES[0], CASES[2], CASES[1]])


def test_a_case_that_fails_costs_the_others_nothing_and_comes_last(run, tmp_path, capsys):
    wrong = RuntimeError("no such kernel\nlong advice")
    assert run(fails={CASES[0]: wrong}) == (CASES, CASES[1:])
    assert f"{CASES[0]:35} failed: RuntimeError: no such kernel\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "latest.json").read_text())["failed"] == {CASES[0]: "RuntimeError: no such kernel"}
    assert run("--only", "match:digits,evaluate:digits") == (
        ["evaluate:digits", CASES[0]],
        [*CASES[1:], "evaluate:digits", CASES[0]],
    )
    assert "failed" not in json.loads((tmp_path / "latest.json").read_text())


def test_a_device_that_is_lost_ends_the_run_and_the_next_one_goes_on(run):
    with pytest.raises(torch.AcceleratorError):
        run(fails={CASES[0]: torch.AcceleratorError("illegal memory access")})
    assert run() == ([*CASES[1:], CASES[0]], [*CASES[1:], CASES[0]])


def test_cases_come_in_the_order_in_which_they_are_picked(run):
    assert run("--only", "score:digits,match:digits,score")[0][:3] == [
        "score:digits",
        "match:digits",
        "score:cifar10-ipc10",
    ]


def test_the_method_is_a_case_of_its_own_for_every_study(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(benchmarks.sequence, "rows", lambda *_: [row(benchmarks.sequence.name())])
    for study in ("one", "two", "one"):
        (tmp_path / "params.yaml").write_text(f"study: {study}\n")
        _, names = run("--only", "sequence")
    assert names == ["sequence:one", "sequence:two"]


def test_no_case_begins_after_so_many_minutes(run, capsys):
    assert run("--minutes", "1.5") == (CASES[:2], CASES[:2])
    assert capsys.readouterr().out.count("the same call again goes on with score:digits") == 1
    assert run("--minutes", "0.5") == (CASES[2:], CASES)


@pytest.mark.parametrize("other", [("--repeats", "3"), ("--threads", "2"), ("--quick",)])
def test_other_settings_begin_the_file_anew(run, capsys, other):
    run()
    assert run(*other, "--only", "steps:digits") == (["steps:digits"], ["steps:digits"])
    assert "it is begun anew" in capsys.readouterr().out
