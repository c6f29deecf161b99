"""What `benchmarks/lease.sh` does with the minutes it is given: its arguments, the order of its parts, going on."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.graph import ROOT

# In place of Python: notes what it is called for, and does what a file of that name says.
PYTHON = """#!/bin/bash
case "$*" in
    *benchmarks.facts*) what=facts ;;
    *"-m pytest"*) what=tests ;;
    *benchmarks.profiled*) what=profile ;;
    *benchmarks.travel*) what=$3 ;;
    *"pipeline walk"*) what=walk ;;
    *"pip install"*) what=install ;;
    *) what=speed ;;
esac
echo "$what $*" >>journal
[ $what = speed ] && echo "{}" >benchmarks/results/gpu.json
[ $what = pack ] && touch "$OUT/x-1.tar.000"
[ -e do-$what ] && . "./do-$what"
exit 0
"""
ORDER = ["facts", "tests", "speed", "profile", "walk", "pack"]


@pytest.fixture
def machine(tmp_path):
    """A repository with what the script needs, where Python is pretended."""
    for folder in ("benchmarks/results", "studies/x", "tests", "bin", "out"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "benchmarks/lease.sh", tmp_path / "benchmarks")
    (tmp_path / "studies/x/params.yaml").write_text("study: x\n")
    (tmp_path / "params.yaml").write_text("study: digits\n")
    for name, text in {"test_a.py": "@pytest.mark.gpu", "test_b.py": "", "c.py": "mark.gpu"}.items():
        (tmp_path / "tests" / name).write_text(text)
    (tmp_path / "bin/python3").write_text(PYTHON)
    (tmp_path / "bin/python3").chmod(0o755)
    return tmp_path


def lease(machine: Path, *arguments: str, out: str | None = "out"):
    """Call it; return the parts that ran, and what was said."""
    (machine / "journal").unlink(missing_ok=True)
    environment = {**os.environ, "PATH": f"{machine / 'bin'}:{os.environ['PATH']}", "TMPDIR": str(machine)}
    environment |= {"OUT": str(machine / out)} if out else {}
    called = subprocess.run(
        [str(machine / "benchmarks/lease.sh"), *arguments], env=environment, capture_output=True, text=True, timeout=60
    )
    journal = machine / "journal"
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [line.partition(" ")[0] for line in lines], called, lines


@pytest.mark.parametrize(
    ("arguments", "out", "said"),
    [
        ((), "out", "MINUTES must be a number such as 9 or 9.5, got ''"),
        (("ten",), "out", "MINUTES must be a number such as 9 or 9.5, got 'ten'"),
        (("5", "absent"), "out", "studies/absent/params.yaml: no such file"),
        (("5", "x", "0"), "out", "JOBS must be a number from 1, got '0'"),
        (("5", "x"), None, "OUT must name the folder that is brought home"),
        (("5", "x"), "absent", "OUT must name the folder that is brought home"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_runs(machine, monkeypatch, arguments, out, said):
    monkeypatch.delenv("OUT", raising=False)
    parts, called, _ = lease(machine, *arguments, out=out)
    assert (called.returncode, called.stderr, parts) == (1, f"lease.sh: {said}\n", [])


def test_the_guide_names_the_wheel_that_is_pinned():
    guide, pins = (ROOT / "benchmarks/gpu.md").read_text(), (ROOT / "constraints.txt").read_text()
    (wanted,) = re.findall(r"ruamel\.yaml==(\S+)", guide)
    assert f"ruamel-yaml=={wanted}\n" in pins
    assert "lease.sh 9.5" in guide and "home.sh cifar10" in guide


def test_what_comes_home_leaves_room_for_the_data_on_its_way_back(machine):
    """64 MiB travel: data, code and what came home."""
    (machine / "data/x").mkdir(parents=True)
    for name in ("train.parquet", "test.parquet"):
        (machine / "data/x" / name).write_bytes(b"." * (15 << 20))
    _, _, lines = lease(machine, "5", "x")
    assert lines[-1].split()[0] == "pack" and lines[-1].split()[-1] == "30"


def test_the_most_wanted_comes_first_and_all_of_it_home(machine):
    parts, called, lines = lease(machine, "5.5", "x", "2", "--device", "cpu")
    assert parts == ORDER and called.returncode == 0
    facts, tests, speed, _, walk, pack = lines
    assert facts.endswith("benchmarks.facts --device cpu")
    assert tests.endswith("tests/test_a.py") and "-m gpu" in tests
    assert "--only recipe:cifar10-ipc10,match:cifar10-ipc10," in speed and speed.endswith("--device cpu")
    assert 3 < float(walk.split()[-2]) < 5.5 and walk.split()[-1] == "2"
    assert pack.split()[-3:] == ["x", str(machine / "out"), "40"]
    assert (machine / "params.yaml").read_text() == "study: x\n"
    home = {file.name for file in (machine / "out").iterdir()}
    assert home == {"lease.log", "lease.done", "gpu.json", "profile.txt", "x-1.tar.000"}
    assert len(home) + 2 <= 8, "with the study in three parts"
    assert (machine / "out/lease.log").read_text() == called.stdout


@pytest.mark.parametrize("part", ORDER)
def test_a_part_that_fails_costs_the_others_nothing(machine, part):
    (machine / f"do-{part}").write_text("exit 3")
    parts, called, _ = lease(machine, "5", "x")
    assert parts == ORDER
    assert f"== {'study' if part == 'walk' else part}: exit 3 after" in called.stdout


def test_without_a_gpu_nothing_is_done(machine):
    (machine / "do-facts").write_text("exit 4")
    parts, called, _ = lease(machine, "5", "x")
    assert parts == ["facts"] and "== no GPU is seen" in called.stdout
    assert (machine / "out/lease.log").read_text() == called.stdout


def test_a_profile_that_is_cut_counts_and_tests_take_a_quarter_of_a_short_call(machine):
    (machine / "do-profile").write_text("exit 124")
    said = lease(machine, "5", "x")[1].stdout
    assert 70 <= int(re.search(r"== tests: at most (\d+) s", said)[1]) <= 75
    assert (machine / "out/lease.done").read_text() == "tests\nprofile\n"


def test_the_next_call_does_not_repeat_what_has_ended_well(machine):
    (machine / "do-profile").write_text("exit 1")
    lease(machine, "5", "x")
    assert (machine / "out/lease.done").read_text() == "tests\n"
    (machine / "do-profile").unlink()
    shutil.rmtree(machine / "out")  # as every call begins
    (machine / "out").mkdir()
    (machine / "benchmarks/results/gpu.json").unlink()  # neither in git nor ignored
    (machine / "do-speed").write_text("cp seen.json benchmarks/results/gpu.json 2>/dev/null; [ -e here ] || exit 9")
    parts, _, _ = lease(machine, "5", "x")
    assert parts == ["facts", "speed", "profile", "walk", "pack"]
    assert (machine / "out/lease.done").read_text() == "tests\nprofile\n"
    assert lease(machine, "5", "x")[0] == ["facts", "speed", "walk", "pack"]


def test_the_table_of_an_earlier_call_is_there_before_the_next_one_measures(machine):
    lease(machine, "5", "x")
    (machine / "benchmarks/results/gpu.json").write_text("lost")
    (machine / ".checkpoints/lease/gpu.json").write_text("kept")
    (machine / "do-facts").write_text("cp benchmarks/results/gpu.json found")
    lease(machine, "5", "x")
    assert (machine / "found").read_text() == "kept"


def test_what_came_home_goes_out_again_once(machine):
    brought = machine / ".lease"
    brought.mkdir()
    for name, text in {"lease.done": "tests\n", "gpu.json": "before", "x-1.tar.000": ""}.items():
        (brought / name).write_text(text)
    (machine / ".whl").mkdir()
    (machine / ".whl/a.whl").touch()
    (machine / "do-take").write_text("cp benchmarks/results/gpu.json found 2>/dev/null; mkdir -p .checkpoints/walk")
    parts, _, lines = lease(machine, "5", "x")
    assert parts == ["install", "take", "facts", "speed", "profile", "walk", "pack"]
    assert lines[1].endswith("take x .lease")
    assert lease(machine, "5", "x")[0] == ["install", "facts", "speed", "walk", "pack"]


def test_a_part_that_does_not_end_is_ended_and_the_last_one_has_its_time(machine):
    (machine / "do-tests").write_text("sleep 50")
    parts, called, _ = lease(machine, "0.1", "x")  # six seconds
    assert "== tests: exit 124 after" in called.stdout
    assert parts == ["facts", "tests"] and "== pack: no time is left" in called.stdout
