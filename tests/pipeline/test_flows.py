"""The flow against a real little DVC project and a real Prefect server; nothing is mocked."""

import contextlib
import gc
import importlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dasm.errors import ConfigError
from pipeline.drivers import procs
from pipeline.graph import dag

ROOT = Path(__file__).parents[2]

DVC_YAML = """
stages:
  prepare:
    cmd: python -S step.py state/a-0.txt state/b-0.txt
    deps: [step.py]
    outs: [state/a-0.txt, state/b-0.txt]
    meta: {device: cpu}
  distill:
    matrix: {arm: "${arms}", s: "${chain}"}
    cmd: python -S step.py state/${item.arm}-${item.s.next}.txt
    deps: [step.py, "state/${item.arm}-${item.s.k}.txt"]
    params: ["steps.${item.arm}"]
    outs: ["state/${item.arm}-${item.s.next}.txt"]
    meta: {device: gpu}
  report:
    cmd: python -S step.py reports/toy/table.md
    deps: [step.py, state/a-1.txt, state/b-1.txt]
    outs: [reports/toy/table.md]
    meta: {device: cpu}
"""
PARAMS = """
study: toy
arms: [a, b]
chain: [{k: 0, next: 1}]
steps: {a: 1, b: 1}
"""
# A stage's output is its parameters; how it behaves on the way is prescribed by files that DVC does not know.
STEP = """
import os, pathlib, sys, time
stage = os.environ["DVC_STAGE"]
with open("journal.txt", "a") as journal:
    print(stage, os.environ.get("CUDA_VISIBLE_DEVICES", "-"), file=journal)
def told(conduct):
    path = pathlib.Path(conduct)
    return path.exists() and stage in path.read_text().split()
if told("fail"):
    sys.exit("boom")
if told("refuse"):
    sys.exit("error: steps: must be 1, got 2")
if told("hang"):
    pathlib.Path("pid").write_text(str(os.getpid()))
    time.sleep(120)
if told("meet"):  # wait until the others that are to meet are here too: only possible side by side
    pathlib.Path("here-" + stage).touch()
    deadline = time.monotonic() + 60
    while not all(pathlib.Path("here-" + other).exists() for other in pathlib.Path("meet").read_text().split()):
        if time.monotonic() > deadline:
            sys.exit("nobody came")
        time.sleep(0.02)
for out in sys.argv[1:]:
    pathlib.Path(out).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(out).write_text(pathlib.Path("params.yaml").read_text())
"""

STAGES = ["prepare", "distill@a-s0", "distill@b-s0", "report"]


# Prefect leaves connections to its server for the garbage collector to close.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")]


@pytest.fixture(scope="module")
def flows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The module under test, with a server of its own that lives as long as these tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))  # else ~/.prefect is made on import
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        flows = importlib.import_module("pipeline.flows")  # before Prefect, whose environment it sets
        from prefect.testing.utilities import prefect_test_harness

        patch.setattr(flows.run_stage, "retry_delay_seconds", 0)
        with prefect_test_harness(server_startup_timeout=180):
            yield flows
        gc.collect()


@pytest.fixture(autouse=True)
def little_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long for the dead: where nobody adopts orphans, a zombie counts as a living process."""
    monkeypatch.setattr(procs, "GRACE", 0.5)


@pytest.fixture(scope="module")
def reproduced(flows: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after its first run, two jobs on two devices. Each test works on a copy."""
    project = tmp_path_factory.mktemp("project")
    for name, text in {"dvc.yaml": DVC_YAML, "params.yaml": PARAMS, "step.py": STEP}.items():
        (project / name).write_text(text)
    (project / "meet").write_text("distill@a-s0 distill@b-s0")
    with contextlib.chdir(project):
        subprocess.run(["git", "init", "--quiet"], check=True)
        dag.ask("init", "--quiet")
        flows.reproduce(jobs=2, devices=["7", "9"])
        (project / "verdicts.json").write_text(json.dumps(_verdicts()))
    (project / "meet").unlink()
    return project


@pytest.fixture
def project(reproduced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the reproduced project, as working directory, with an empty journal."""
    copy = tmp_path / "project"
    shutil.copytree(reproduced, copy)
    (copy / "journal.txt").write_text("")
    monkeypatch.chdir(copy)
    return copy


def _artifact(key: str) -> str:
    from prefect.artifacts import Artifact

    found: Any = Artifact.get(key)  # typed as "or a coroutine", which it is only inside async code
    return str(found.data)


def _verdicts() -> dict[str, str]:
    """What the last run published about its stages."""
    return {row["stage"]: row["verdict"] for row in json.loads(_artifact("stages"))}


def _edit(steps: str) -> None:
    path = Path("params.yaml")
    path.write_text(path.read_text().partition("steps:")[0] + f"steps: {steps}\n")


def _journal(project: Path) -> list[str]:
    return [line.split()[0] for line in (project / "journal.txt").read_text().splitlines()]


def _until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return met


def _dead(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True
    return state.rpartition(")")[2].split()[0] == "Z"  # a zombie: dead, and nobody asked yet


def test_dot_becomes_parents_in_the_order_of_the_file() -> None:
    """Nodes come before edges, and stages without edges count too."""
    text = 'strict digraph {\n"b";\n"a@x-s0";\n"c";\n"b" -> "a@x-s0";\n"c" -> "a@x-s0";\n}\n'
    parents = dag.parse_dot(text)
    assert parents == {"b": set(), "a@x-s0": {"b", "c"}, "c": set()}
    assert list(parents) == ["b", "a@x-s0", "c"]


def test_a_spoilt_lock_file_is_not_taken_for_another_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dag.ask("init", "--quiet", "--no-scm")
    (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: 'true'}}")
    (tmp_path / "dvc.lock").write_text("<<<<<<< ours\n")
    with pytest.raises(dag.ReproduceError, match=r"^dvc status --json: .*dvc\.lock") as said:
        dag.ask("status", "--json")
    assert "another dvc" not in str(said.value) and "\n" not in str(said.value)


def test_targets_bring_their_ancestors_and_nothing_else() -> None:
    """A target is a stage or a group; none, or an empty list from the UI's form, is everything."""
    parents = {"prepare": set[str](), "work@a": {"prepare"}, "work@b": {"prepare"}, "report": {"work@a"}}
    assert list(dag.select(parents, None)) == list(dag.select(parents, [])) == list(parents)
    assert list(dag.select(parents, ["work@b"])) == ["prepare", "work@b"]
    assert list(dag.select(parents, ["work"])) == ["prepare", "work@a", "work@b"]
    with pytest.raises(dag.ReproduceError, match=r"called 'wrok' \(groups: prepare, report, work\)"):
        dag.select(parents, ["wrok"])


def test_what_dvc_advises_after_every_stage_is_told_from_what_happened() -> None:
    advice = """To track the changes with git, run:

\tgit add dvc.lock .gitignore

To enable auto staging, run:

\tdvc config core.autostage true
Use `dvc push` to send your updates to remote storage."""
    assert all(dag.is_advice(line) for line in advice.splitlines() if line.strip())
    news = [
        "Running stage 'a':",
        "> python -m pipeline check",
        "Stage 'a' didn't change, skipping",
        "ERROR: failed to reproduce",
        "",
    ]
    assert not any(dag.is_advice(line) for line in news)


def test_prefect_is_handed_the_most_urgent_stage_of_all_that_can_begin(
    flows: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    parents: dict[str, set[str]] = {
        "real": set(),
        "joint": {"real"},
        "s0": {"real"},
        "s1": {"s0"},
        "s2": {"s1"},
        "end": {"s2", "joint"},
    }
    begun: list[str] = []

    def submit(stage: str, *_: object, **__: object) -> SimpleNamespace:
        begun.append(stage)
        state = SimpleNamespace(name="Completed", is_completed=lambda: True)
        return SimpleNamespace(state=state, wait=lambda: None, add_done_callback=lambda tell: tell(None))

    monkeypatch.setattr(flows, "run_stage", SimpleNamespace(submit=submit))
    outcomes: dict[str, object] = {}
    schedule = flows.Schedule(parents, {*parents})
    flows._walk(schedule, flows.Slots(1, None, set()), None, flows.Watched(), outcomes)
    assert begun == ["real", "s0", "s1", "joint", "s2", "end"] and {*outcomes} == {*parents}


def test_verdict_reads_what_dvc_says_about_this_stage() -> None:
    """And what it does not understand counts as a run, so that the children look again."""
    assert dag.verdict("a", ["Stage 'a' didn't change, skipping"]) == "Unchanged"
    assert dag.verdict("a.dvc", ["'a.dvc' didn't change, skipping"]) == "Unchanged"
    assert dag.verdict("a", ["Stage 'a' is cached - skipping run, checking out outputs"]) == "Restored"
    assert dag.verdict("a", ["Running stage 'a':", "> cp x y"]) == "Completed"
    assert dag.verdict("a", ["Stage 'b' is cached", "words of a later DVC"]) == "Completed"


def test_progress_bars_do_not_flood_the_log() -> None:
    """A hundred states of a bar in some two minutes make a handful of lines; other lines all pass."""
    bar = [f"{percent}%\r" for percent in range(100)]
    ticks = iter(range(1000))  # one second per look at the clock
    shown = list(procs.lines(["first\n", "\r", *bar, "100%\n", "\n", "last"], clock=lambda: float(next(ticks))))
    assert (shown[0], *shown[-2:]) == ("first", "100%", "last")
    assert 3 <= len(shown) - 3 <= 5


def test_a_child_takes_its_group_along(tmp_path: Path) -> None:
    """A stage that outlives its dvc would go on writing: it must go, and must not hold up the driver by its pipe."""
    children, pid = procs.Children(), tmp_path / "pid"
    said: list[str] = []
    status = children.run(["sh", "-c", f"sleep 100 & echo $! > {pid}; echo $NAME; exit 3"], {"NAME": "x"}, said.append)
    assert (status, said) == (3, ["x"])
    assert _until(lambda: _dead(int(pid.read_text())), 5)


def test_closing_ends_what_runs_and_lets_nothing_follow(tmp_path: Path) -> None:
    """As on Ctrl-C, on SIGTERM, and on Cancel in the UI: all end in the flow closing its children."""
    children, pid = procs.Children(), tmp_path / "pid"
    command = ["sh", "-c", f"sleep 100 & echo $! > {pid}.new; mv {pid}.new {pid}; wait"]
    stage = threading.Thread(target=children.run, args=(command, {}, print))
    stage.start()
    assert _until(pid.exists)
    children.close()
    stage.join(timeout=10)
    assert not stage.is_alive()
    assert _dead(int(pid.read_text()))
    assert children.run(["touch", str(tmp_path / "late")], {}, print) == -signal.SIGTERM
    assert not (tmp_path / "late").exists()


def test_first_run(flows: ModuleType, reproduced: Path) -> None:
    """Parents first, independent stages side by side (or `meet` fails), GPU stages on a device each, all in DVC."""
    assert json.loads((reproduced / "verdicts.json").read_text()) == dict.fromkeys(STAGES, "Completed")
    journal = dict(line.split() for line in (reproduced / "journal.txt").read_text().splitlines())
    assert list(journal) in (STAGES, [STAGES[0], STAGES[2], STAGES[1], STAGES[3]])
    assert journal["prepare"] == journal["report"] == "-"
    assert {journal["distill@a-s0"], journal["distill@b-s0"]} == {"7", "9"}
    assert _artifact("toy-table") == (reproduced / "reports/toy/table.md").read_text()
    with pytest.raises(Exception, match="jobs: Input should be greater than or equal to 1"):
        flows.reproduce(jobs=0)


@pytest.mark.deep
def test_failure_change_and_return(flows: ModuleType, project: Path) -> None:
    """A failure stops its descendants alone; then only what changed is run, and what was known before is restored."""
    _edit("{a: 2, b: 2}")
    (project / "fail").write_text("distill@a-s0")
    with pytest.raises(dag.ReproduceError, match=r"failed: distill@a-s0; not run because of that: report$"):
        flows.reproduce(jobs=2)
    assert _verdicts() == dict(zip(STAGES, ["Unchanged", "Failed", "Completed", "Skipped"], strict=True))
    assert sorted(_journal(project)) == ["distill@a-s0", "distill@a-s0", "distill@b-s0"]  # one retry

    (project / "fail").unlink()
    _edit("{a: 2, b: 1}")
    flows.reproduce(jobs=2)
    assert _verdicts() == dict(zip(STAGES, ["Unchanged", "Completed", "Restored", "Completed"], strict=True))
    assert sorted(_journal(project)[3:]) == ["distill@a-s0", "report"]

    flows.reproduce(targets=["distill"])
    assert _verdicts() == dict.fromkeys(STAGES[:3], "Unchanged")


BLUEPRINT_YAML = """
stages:
  check:
    cmd: mkdir -p parts && sed 's/ *$//;1q' source.txt > parts/a.txt && sed 1d source.txt > parts/b.txt
    deps: [source.txt]
    outs: [parts]
  a:
    cmd: cp parts/a.txt a.txt
    deps: [parts/a.txt]
    outs: [a.txt]
  b:
    cmd: cp parts/b.txt b.txt
    deps: [parts/b.txt]
    outs: [b.txt]
"""


@pytest.mark.deep
def test_only_stages_that_the_blueprint_concerns_are_visited(
    flows: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All depend on what `check` writes; it has run, and yet a stage whose own file stayed the same is left alone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text(BLUEPRINT_YAML)
    (tmp_path / "params.yaml").write_text("study: toy\n")
    (tmp_path / "source.txt").write_text("one\ntwo\n")
    dag.ask("init", "--quiet", "--no-scm")
    dag.ask("repro", "--quiet")
    for text, b in [("one   \ntwo\n", "Unchanged"), ("one\nthree\n", "Completed")]:
        (tmp_path / "source.txt").write_text(text)
        flows.reproduce()
        assert _verdicts() == {"check": "Completed", "a": "Unchanged", "b": b}
        assert (tmp_path / "b.txt").read_text() == text.split("\n", 1)[1]


@pytest.mark.deep
def test_a_check_that_refuses_is_told_in_its_own_words_and_nothing_else_runs(
    flows: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text(BLUEPRINT_YAML.replace("cmd: mkdir", "cmd: ./refuse && mkdir"))
    (tmp_path / "refuse").write_text("#!/bin/sh\ntouch began\necho 'error: steps: must be 1, got 2' >&2\nfalse\n")
    (tmp_path / "refuse").chmod(0o755)
    (tmp_path / "params.yaml").write_text("study: toy\nseed: 3\n")
    (tmp_path / "source.txt").write_text("one\ntwo\n")
    dag.ask("init", "--quiet", "--no-scm")
    with pytest.raises(dag.ReproduceError, match=r"^targets: no stage or group called 'c' \(groups: a, b, check\)$"):
        flows.reproduce(targets=["c"])
    assert not (tmp_path / "began").exists()
    with pytest.raises(dag.ReproduceError, match=r"^failed: check \(steps: must be 1, got 2\); nothing else was run$"):
        flows.reproduce()
    assert _verdicts() == {"check": "Refused"}


class Saying:
    """A child that says some lines and fails."""

    closed = False

    def run(self, _command: object, _environment: object, hear: Callable[[str], object]) -> int:
        for line in ("Running stage 'a':", "error: steps: must be 1", "ERROR: failed to reproduce 'a'"):
            hear(line)
        return 1


def test_errors_are_logged_as_such_and_a_refusal_is_the_message(
    flows: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[tuple[int, str]] = []
    log = SimpleNamespace(log=lambda level, _, line: said.append((level, line)))
    monkeypatch.setattr(flows, "get_run_logger", lambda: log)
    state = flows.run_stage.fn("a", {}, Saying())
    assert (state.name, state.message) == ("Refused", "steps: must be 1")
    assert [logging.getLevelName(level) for level, _ in said] == ["INFO", "ERROR", "ERROR"]


def test_a_run_is_called_by_its_study_and_root_seed(
    flows: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("study: toy\nseed: 3\n")
    assert flows.reproduce.flow_run_name() == "toy-seed3"
    Path("params.yaml").write_text("{")
    assert flows.reproduce.flow_run_name() == "no-study-seed"


class Published:
    """What a run publishes, without Prefect."""

    def __init__(self, flows: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[object] = []
        monkeypatch.setattr(flows.publish, "publish_stages", lambda ended: self.said.append({*ended}))
        monkeypatch.setattr(flows.publish, "publish_report", lambda: self.said.append("report"))
        self._flows, self._patch = flows, monkeypatch

    def after(self, ends: dict[str, object], error: BaseException | None = None) -> list[object]:
        """What it is after a run with these outcomes, which may then have failed."""

        def work(*arguments: Any) -> None:
            arguments[-1].update(ends)
            if error:
                raise error

        self._patch.setattr(self._flows, "_bring_up_to_date", work)
        self.said.clear()
        with contextlib.suppress(dag.ReproduceError, KeyboardInterrupt):
            self._flows.reproduce.fn()
        return self.said


def test_the_table_of_stages_is_published_after_a_failure_too_and_the_report_where_it_was_made(
    flows: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    published, end = Published(flows, monkeypatch), SimpleNamespace(state=SimpleNamespace(name="x"), seconds=1)
    assert published.after({"a": end, "report": end}) == [{"a", "report"}, "report"]
    assert published.after({"a": end}) == [{"a"}], "the report there is that of an earlier run"
    assert published.after({"a": end}, dag.ReproduceError("edited")) == [{"a"}]
    assert published.after({}, dag.ReproduceError("another driver")) == []
    assert published.after({"a": end}, KeyboardInterrupt()) == [], "nobody is to be waited for"


@pytest.mark.deep
def test_a_driver_that_can_end_nobody_leaves_no_dvc_behind(project: Path) -> None:
    _edit("{a: 2, b: 1}")
    (project / "hang").write_text("distill@a-s0")
    code = "from pipeline.drivers.procs import Children; from pipeline.graph.dag import DVC\n"
    code += "Children().run([*DVC, 'repro', 'distill@a-s0'], {}, print)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    driver = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.DEVNULL)
    assert _until((project / "pid").exists)
    with pytest.raises(dag.ReproduceError, match=r"^dvc status --json: is another dvc at work here\? pid \d+$"):
        dag.ask("status", "--json")
    driver.kill()
    driver.wait()

    def no_dvc_at_work() -> bool:
        with contextlib.suppress(dag.ReproduceError):
            return "distill@a-s0" in dag.ask("status", "--json")
        return False

    assert _until(no_dvc_at_work)
    # The made-up stage, unlike ours, outlives its dvc.
    os.kill(int((project / "pid").read_text()), signal.SIGKILL)


@pytest.mark.deep
def test_a_killed_driver_leaves_no_stage_behind(flows: ModuleType, project: Path) -> None:
    """Meanwhile another driver is refused, and one that finds somebody else's dvc at work says so."""
    from prefect.settings import PREFECT_API_URL

    _edit("{a: 2, b: 1}")
    (project / "hang").write_text("distill@a-s0")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": PREFECT_API_URL.value() or ""}
    code = "from pipeline.flows import reproduce; reproduce()"
    with (project / "log").open("w") as log:
        driver = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=log, stderr=log)
    assert _until((project / "pid").exists), (project / "log").read_text()
    with pytest.raises(dag.ReproduceError, match=f"another driver runs in .* .pid {driver.pid}"):
        flows.reproduce()
    with pytest.raises(dag.ReproduceError, match="is another dvc at work here"):
        dag.ask("status", "--json")
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(timeout=60) != 0
    assert _dead(int((project / "pid").read_text()))


@pytest.mark.deep
def test_ctrl_c_ends_a_run_at_once_with_its_stages_and_tells_prefect(project: Path, tmp_path: Path) -> None:
    """A terminal's Ctrl-C reaches everybody in the foreground, Prefect's temporary server too if nobody kept it."""
    _edit("{a: 2, b: 1}")
    (project / "hang").write_text("distill@a-s0")
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment |= {"PYTHONPATH": str(ROOT), "PREFECT_HOME": str(tmp_path / "prefect")}
    with (project / "log").open("w") as log:
        driver = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "reproduce"],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # as from a terminal
        )
    try:
        assert _until((project / "pid").exists, 150), (project / "log").read_text()
        os.killpg(driver.pid, signal.SIGINT)
        assert driver.wait(timeout=40) == 130
    finally:
        if driver.poll() is None:  # a test that fails leaves nobody behind
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
    said = (project / "log").read_text()
    assert "reproduce: interrupted" in said and "Finished in state Crashed" in said
    assert "Traceback" not in said
    assert _dead(int((project / "pid").read_text()))


@pytest.mark.usefixtures("flows")
def test_without_a_server_where_one_is_said_to_be_there_is_one_line() -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from pipeline.drivers import publish

    publish.find_server(lasting=True)  # the one of these tests
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        for lasting in (False, True):
            with pytest.raises(ConfigError, match=r"^Prefect: Failed to reach API at http://127.0.0.1:9/api/ \(start"):
                publish.find_server(lasting=lasting)
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(ConfigError, match=r"^PREFECT_API_URL must name a server with a UI, got '' \(start one with"),
    ):
        publish.find_server(lasting=True)


def test_editing_parameters_stops_the_run(flows: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC would file a running stage's outputs under parameters they were not made with."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS)
    (tmp_path / "dvc.yaml").write_text(DVC_YAML)
    study, done = flows.Watched(), SimpleQueue[str]()
    for text in (PARAMS, f"# a comment\n{PARAMS}", "", "steps: {a: 1"):  # the last two are half saved
        path.write_text(text)
        done.put("a")
        assert flows._next(done, study) == "a"
    path.write_text(PARAMS)
    _edit("{a: 2, b: 1}")
    with pytest.raises(dag.ReproduceError, match=r"params\.yaml or dvc\.yaml changed during the run"):
        flows._next(done, study)


@pytest.mark.deep
def test_a_refusal_is_not_tried_again(flows: ModuleType, project: Path) -> None:
    """It would be said again: a failure may go on from a checkpoint, a wrong number stays wrong."""
    _edit("{a: 2, b: 1}")
    (project / "refuse").write_text("distill@a-s0")
    with pytest.raises(dag.ReproduceError, match=r"^failed: distill@a-s0; not run because of that: report$"):
        flows.reproduce()
    assert _verdicts()["distill@a-s0"] == "Refused"
    assert _journal(project) == ["distill@a-s0"]
