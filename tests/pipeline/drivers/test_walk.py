"""Stages without DVC: written out as DVC writes them out, run in order, once, and no longer than there is time."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from dasm.errors import ConfigError
from pipeline import layout, params
from pipeline.drivers import procs, walk
from pipeline.graph import templates
from pipeline.graph.templates import Stage
from tests.graph import ROOT


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a package that DVC lays out its graph with
@pytest.mark.parametrize("study", [ROOT / "params.yaml", ROOT / "studies/zoo/params.yaml"], ids=["digits", "zoo"])
def test_stages_are_those_that_dvc_sees(study, tmp_path):
    from dvc.dependency import ParamsDependency
    from dvc.repo import Repo

    (tmp_path / "params.yaml").write_text(study.read_text())
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    with Repo.init(str(tmp_path), no_scm=True) as repo:
        theirs = {}
        for stage in repo.index.stages:
            files = [dep for dep in stage.deps if not isinstance(dep, ParamsDependency)]
            keys = {key for dep in stage.deps for key in getattr(dep, "params", None) or ()}
            theirs[stage.name] = (
                stage.cmd,
                {dep.def_path for dep in files},
                keys,
                {out.def_path for out in stage.outs},
            )
        edges = {(after.name, before.name) for after, before in repo.index.graph.edges}
    written = templates.stages(params.read(study), ROOT / "dvc.yaml")
    ours = {
        stage.name: (stage.cmd, set(stage.deps), set(stage.params) - {"params.yaml"}, set(stage.outs))
        for stage in written
    }
    assert ours == theirs
    assert {(stage.name, other.name) for stage in written for other in written if stage.follows(other)} == edges
    assert ("report", "ceiling") in edges, "a folder is read when all that lies in it is written"


STEP = """
import os, pathlib, sys, time
with open("journal", "a") as journal:
    print(os.environ["DVC_STAGE"], file=journal)
out, *ins = sys.argv[1:]
if pathlib.Path("slow").exists():
    time.sleep(60)
if pathlib.Path("broken").exists():
    sys.exit("boom")
pathlib.Path(out).write_text("".join(pathlib.Path(path).read_text() for path in ins) + out[-1])
"""


def step(out: str, *ins: str, options: tuple[str, ...] = ()) -> Stage:
    return Stage(
        name=out,
        cmd=" ".join(["python -S step.py", out, *ins]),
        deps=(*ins, f"{layout.BLUEPRINT}/{out}.json"),
        params=options,
        outs=(out,),
    )


CHAIN = [step("c", "b"), step("a", options=("seed",)), step("b", "a"), step("d", options=("other.of.d",))]
OPTIONS = {"seed": 0, "other": {"of": {"d": 1}}}


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layout.BLUEPRINT.mkdir(parents=True)
    for stage in CHAIN:
        (layout.BLUEPRINT / f"{stage.name}.json").write_text("{}")
    Path("step.py").write_text(STEP)
    return tmp_path


def journal() -> list[str]:
    path = Path("journal")
    said = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return said


def go(options=OPTIONS, seconds=60.0, jobs=1):
    return walk.walk(CHAIN, options, seconds=seconds, jobs=jobs)


@pytest.mark.usefixtures("project")
def test_parents_come_first_and_nothing_is_done_twice():
    assert go(jobs=2) == []
    said = journal()
    assert sorted(said) == ["a", "b", "c", "d"]
    assert said.index("a") < said.index("b") < said.index("c")
    assert Path("c").read_text() == "abc"
    assert go() == []
    assert journal() == []


@pytest.mark.usefixtures("project")
def test_what_changed_is_run_again_with_all_that_follows():
    go()
    journal()
    go({"seed": 1, "other": {"of": {"d": 1}}})
    assert journal() == ["a", "b", "c"]
    go({"seed": 1, "other": {"of": {"d": 2}}})
    assert journal() == ["d"]
    (layout.BLUEPRINT / "b.json").write_text('{"digest": 1}')
    go({"seed": 1, "other": {"of": {"d": 2}}})
    assert journal() == ["b", "c"]


@pytest.mark.usefixtures("project")
def test_a_stage_may_depend_on_all_parameters():
    whole = [step("a", options=("params.yaml",))]
    for value in (1, 1, 2):
        walk.walk(whole, {"any": {"thing": value}}, seconds=60, jobs=1)
    assert journal() == ["a", "a"]


@pytest.mark.usefixtures("project")
def test_a_lost_output_is_made_again_and_what_followed_it_stays():
    """The prepared images are too large to bring home; what was made of them is not made again."""
    go()
    journal()
    Path("a").unlink()
    go()
    assert journal() == ["a"]


@pytest.mark.usefixtures("project")
def test_a_failure_stops_what_follows_and_nothing_else(capsys):
    Path("broken").touch()
    assert sorted(go()) == ["a", "d"]
    assert "boom" in capsys.readouterr().out
    assert sorted(journal()) == ["a", "d"]
    Path("broken").unlink()
    assert go() == []
    assert Path("c").read_text() == "abc"


@pytest.mark.usefixtures("project")
def test_when_the_time_is_over_the_running_stage_is_stopped_and_the_next_walk_goes_on(capsys):
    Path("slow").touch()
    begun = time.monotonic()
    assert go(seconds=1.0) == [], "nothing failed"
    assert time.monotonic() - begun < 30
    assert journal() == ["a"]
    assert "4 of 4 stages are left" in capsys.readouterr().out
    Path("slow").unlink()
    assert go() == []
    assert Path("c").read_text() == "abc"


@pytest.mark.timeout(50)
@pytest.mark.usefixtures("project")
def test_an_interruption_ends_what_runs_and_waits_for_nobody():
    Path("slow").touch()

    def interrupt():
        while not Path("journal").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job's tests ignore it
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            go()
        assert time.monotonic() - begun < 30
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("project")
def test_a_second_walk_is_refused():
    rule = rf"^another driver runs in .* \(pid {os.getpid()}\)"
    with procs.only_driver(Path(".checkpoints/walk.lock")), pytest.raises(ConfigError, match=rule):
        walk.main()


@pytest.mark.parametrize(("arguments", "expected"), [(["x"], "minutes"), (["-1"], "minutes"), (["1", 0], "jobs")])
def test_nonsense_is_refused(arguments, expected):
    with pytest.raises(ConfigError, match=f"walk: {expected} must be"):
        walk.main(*arguments)
