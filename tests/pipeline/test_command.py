"""`python -m pipeline`: what it says of itself, and to whoever mistypes."""

import errno
import inspect
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from pipeline.__main__ import COMMANDS, entry, main
from pipeline.graph import dag
from tests.graph import ROOT

STAGES = sorted(file.stem for file in (ROOT / "pipeline/stages").glob("[!_]*.py"))


@pytest.mark.parametrize("asked", ["help", "-h", "--help"])
def test_help_names_every_command_and_stage(asked, capsys):
    assert main([asked]) == 0
    said, complaints = capsys.readouterr()
    assert not complaints
    for name, (_, arguments, what) in COMMANDS.items():
        assert any(line.split() == [name, *arguments.split(), *what.split()] for line in said.splitlines())
    for stage in STAGES:
        assert stage in said
    assert all(len(line) <= 120 for line in said.splitlines())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["reprdouce"], "error: no command called 'reprdouce'; did you mean 'reproduce'?"),
        (["scoer", "dasm", "1"], "error: no command called 'scoer'; did you mean 'score'?"),
        (["xyz"], "error: no command called 'xyz'; `python -m pipeline help` lists them"),
    ],
)
def test_what_is_no_command_is_guessed(arguments, line, capsys):
    assert main(arguments) == 1
    assert capsys.readouterr() == ("", f"{line}\n")


@pytest.mark.parametrize("name", [*COMMANDS, *STAGES])
@pytest.mark.parametrize("asked", ["-h", "--help"])
def test_every_command_says_what_it_takes_and_does(name, asked, capsys, monkeypatch):
    monkeypatch.setattr("pipeline.__main__._die_with_parent", lambda: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert main([name, asked]) == 0
    first, empty, what, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith(f"usage: python -m pipeline {name}") and not empty and what.endswith((".", ":", ","))


def test_an_argument_too_few_or_too_many_gets_the_usage(capsys):
    assert main(["export", "dasm"]) == main(["roots"]) == main(["check", "now"]) == main(["plan", "3", "4"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: missing a required argument: 'folder' (usage: python -m pipeline export ARM FOLDER [IPC])",
        "error: missing a required argument: 'folder' (usage: python -m pipeline roots FOLDER TABLE TABLE...)",
        "error: too many positional arguments (usage: python -m pipeline check)",
        "error: too many positional arguments (usage: python -m pipeline plan SEGMENTS)",
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_arguments_it_names_are_those_it_takes(name):
    _, arguments, _ = COMMANDS[name]
    taken = inspect.signature(entry(name)).parameters.values()
    needed = [one for one in arguments.split() if not one.startswith("[")]
    if any(one.kind is one.VAR_POSITIONAL for one in taken):
        assert arguments.endswith("...")
    else:
        assert len(arguments.split()) == sum(one.kind is not one.KEYWORD_ONLY for one in taken)
        assert len(needed) == sum(one.default is one.empty for one in taken)


def test_jobs_and_targets_reach_the_flow(monkeypatch, capsys):
    seen = []
    flow = SimpleNamespace(reproduce=lambda **given: seen.append(given))
    monkeypatch.setattr("pipeline.flows", flow, raising=False)
    monkeypatch.setattr("pipeline.drivers.publish", SimpleNamespace(find_server=lambda **_: None), raising=False)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("signal.signal", lambda *_: None)  # what a driver sets for its own process
    assert (
        main(["reproduce", "2", "distill", "score@a-s0"]) == main(["reproduce"]) == main(["reproduce", "distill"]) == 0
    )
    assert seen == [
        {"jobs": 2, "targets": ["distill", "score@a-s0"]},
        {"jobs": 1, "targets": []},
        {"jobs": 1, "targets": ["distill"]},
    ]
    assert main(["reproduce", "0"]) == 1 and len(seen) == 3
    capsys.readouterr()
    assert main(["reproduce", "-1"]) == 1 and len(seen) == 3
    rule = "error: reproduce: must be given a number of jobs, and names of stages, got '-1'\n"
    assert capsys.readouterr().err == rule


def test_a_study_that_is_no_yaml_is_said_before_prefect_is_started(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "pipeline.flows", None)  # what imports Prefect
    monkeypatch.setattr("pipeline.drivers.procs.project", lambda: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("study: x\nseed 0\nthreads: 1\n")
    assert main(["reproduce", "2"]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("error: params.yaml: must be YAML (")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("arms: [dasm] ", "", "params.yaml: needs arms"),
        ("arms: [dasm] ", "arms: 3", "arms: must be a list, got 3"),
        ("\nchain:", "\nchains:", "params.yaml: no option called 'chains' (have "),
    ],
)
@pytest.mark.parametrize("command", [["reproduce"], ["repeat", "2"]])
def test_a_study_without_stages_is_said_as_check_says_it_before_anything_is_started(
    monkeypatch, tmp_path, capsys, command, old, new, said
):
    monkeypatch.setitem(sys.modules, "pipeline.flows", None)
    monkeypatch.setattr("pipeline.drivers.procs.project", lambda: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "params.yaml").read_text()
    assert text.count(old) == 1
    (tmp_path / "params.yaml").write_text(text.replace(old, new))
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    assert main(["check"]) == main(command) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == second and first.startswith(f"error: {said}")
    with pytest.raises(dag.ReproduceError, match=f"^{re.escape(said)}"):  # from Prefect's page, too
        dag.survey()


@pytest.mark.parametrize("text", ["two", "1.5", "-1"])
def test_what_is_no_number_is_refused_in_one_line(text, capsys):
    assert main(["plan", text]) == 1
    assert capsys.readouterr().err == f"error: segments: must be a number from 0, got {text!r}\n"


# `main` of a command that is told to end, or not to mind.
TOLD = """
import signal, sys, types
from pipeline.__main__ import main
number = signal.Signals[sys.argv[2]]
signal.signal(number, signal.SIG_IGN if sys.argv[3:] else signal.SIG_DFL)  # whatever the tests were started under
module = types.ModuleType("x")
sys.modules.update({f"pipeline.drivers.{name}": module for name in ("walk", "repeat", "drive")})
module.main = module.reproduce = lambda: signal.raise_signal(number)
sys.exit(main([sys.argv[1]]))
"""


def told(*arguments):
    return subprocess.run([sys.executable, "-c", TOLD, *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("name", ["reproduce", "repeat", "walk"])
@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP"])
def test_a_driver_that_is_told_to_end_ends_as_after_an_interruption(name, number):
    """So that what it has started ends too."""
    ended = told(name, number)
    assert (ended.returncode, ended.stderr) == (130, f"{name}: interrupted\n")


def test_under_nohup_a_lost_terminal_means_nothing():
    assert told("walk", "SIGHUP", "nohup").returncode == 0


# Where the parent's death means SIGTERM is asked (PR_GET_PDEATHSIG) when the module is about to be imported.
TIED = """
import ctypes, sys
from pipeline.__main__ import main
class Asks:
    def find_spec(self, name, *_):
        if name.startswith(("pipeline.stages", "torch")):
            number = ctypes.c_int()
            ctypes.CDLL(None).prctl(2, ctypes.byref(number))
            sys.exit(number.value)
sys.meta_path.insert(0, Asks())
main(["open", "dasm"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_a_stage_is_tied_to_its_parent_before_anything_of_it_is_imported():
    assert subprocess.run([sys.executable, "-c", TIED], cwd=ROOT).returncode == signal.SIGTERM


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS])
def test_a_disk_that_takes_nothing_gets_one_line(number, monkeypatch, capsys):
    def full():
        raise OSError(number, "why", "reports/x\ny")

    monkeypatch.setattr("pipeline.stages.report.main", full)
    monkeypatch.chdir("/")
    assert main(["report"]) == 1
    rule = "must be readable and writable"
    assert capsys.readouterr().err == f"error: reports/x\\ny: {rule}, got why\n"


def test_whoever_reads_the_first_line_alone_hears_no_complaint():
    command = [sys.executable, "-u", "-m", "pipeline", "parts"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "data (data)\n"
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == ("", 1)
    process.stderr.close()


def test_a_pipe_that_breaks_elsewhere_is_no_reader_of_ours(monkeypatch):
    def broken() -> None:
        raise BrokenPipeError(errno.EPIPE, "a server has gone")

    monkeypatch.setattr("pipeline.parts.main", broken)
    with pytest.raises(BrokenPipeError, match="a server has gone"):
        main(["parts"])
