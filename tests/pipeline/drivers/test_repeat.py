"""A small study from several root seeds, through DVC: what is done, what is not done again, and the workspace."""

import contextlib
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from dasm.errors import ConfigError
from pipeline.drivers import procs, repeat
from pipeline.graph import dag
from pipeline.reporting.holdings import MEASURES

DVC_YAML = """
stages:
  prepare:
    cmd: python step.py data/real
    deps: [data/pictures, dasm]
    params: [seed]
    outs: [data/real]
  report:
    cmd: python step.py reports/${study}/table.csv
    deps: [data/real]
    params: [seed, study]
    outs: ["reports/${study}/table.csv": {cache: false}]
"""
# A step writes down, outside, that it ran; a table is that of its root seed.
STEP = """
import pathlib, sys, time
out = pathlib.Path(sys.argv[1])
seed = int(pathlib.Path("params.yaml").read_text().split("seed:")[1].split()[0])
with open("{journal}", "a") as file:
    file.write(out.name + str(seed) + " ")
if seed == 5 and pathlib.Path("data/edit").exists():
    pathlib.Path("{project}/dasm/code.py").write_text("x = 3")
if seed == 5 and pathlib.Path("data/hang").exists():
    time.sleep(280)
if pathlib.Path("data/pictures").read_text().split() == ["spoil", str(seed)]:
    sys.exit("spoilt")
out.parent.mkdir(parents=True, exist_ok=True)
rows = ["network,arm,prefix_ipc,mean,validation_mean"]
arms = {{"dasm": 1 + seed % 2, "idc": 0}}
rows += [f"convnet,{{arm}},5,{{90 + seed + bonus}},{{91 + seed}}" for arm, bonus in arms.items()]
out.write_text("\\n".join(rows) if out.suffix else "real")
if out.suffix:
    out.with_name("holdings.csv").write_text("arm,prefix_ipc,{measures}\\ndasm,5{values}\\n".replace("SEED", str(seed)))
"""
PARAMS = "study: tiny  # a comment\nseed: 4\n"


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setattr(procs, "GRACE", 0.5)
    root = tmp_path / "project"
    files = {
        "dvc.yaml": DVC_YAML,
        "params.yaml": PARAMS,
        "step.py": STEP.format(
            journal=tmp_path / "journal",
            project=root,
            measures=",".join(MEASURES),
            values=",SEED" * len(MEASURES),
        ),
        ".dvcignore": ".checkpoints\n",
        "dasm/code.py": "x = 1\n",
        "pipeline/code.py": "",
        "data/pictures": "fine",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.chdir(root)
    subprocess.run(["git", "init", "--quiet"], check=True)
    dag.ask("init", "--quiet")
    return root


def ran():
    """What has run since this was last asked, but for reports, which DVC does not cache."""
    journal = Path("../journal")
    words = journal.read_text().split() if journal.exists() else []
    journal.write_text("")
    return sorted(word for word in words if word.startswith("real"))


@pytest.mark.slow
def test_every_root_seed_is_done_once_and_the_workspace_stays_what_it_is(project, capsys):
    repeat.main(3, 2)
    assert ran() == ["real4", "real5", "real6"]
    assert Path("params.yaml").read_text() == PARAMS
    assert "91" not in Path("reports/tiny/roots/table-5.csv").read_text()
    tables = [pd.read_csv(f"reports/tiny/{name}") for name in ("table.csv", "roots/table-5.csv", "roots/table-6.csv")]
    assert [table["mean"][1] for table in tables] == [94, 95, 96]
    paired = pd.read_csv("reports/tiny/roots-paired.csv").set_index("split").loc["test"]
    assert paired["n"] == 3 and paired["mean"] == pytest.approx((1 + 2 + 1) / 3, abs=1e-4)
    held = pd.read_csv("reports/tiny/roots-holdings.csv")
    assert set(held["measure"]) == {*MEASURES} and set(held["n"]) == {3} and set(held["mean"]) == {5}
    assert not Path(".checkpoints/roots").exists()
    assert capsys.readouterr().out.splitlines()[-1] == "3 root seeds, 2 arms: reports/tiny/roots.md"
    repeat.main(4)
    assert ran() == ["real7"]
    assert dag.survey()[1] == {}, "the workspace is up to date"
    (project / "dasm/code.py").write_text("x = 2\n")
    repeat.main(2)
    assert ran() == ["real4", "real5"]


@pytest.mark.slow
def test_a_root_seed_that_fails_is_named_and_the_others_are_kept(project):
    Path("data/pictures").write_text("spoil 6")
    with pytest.raises(ConfigError, match=r"^root seed 6: exit status 255: .*failed to reproduce 'prepare'"):
        repeat.main(3)
    assert ran() == ["real4", "real5", "real6"]
    (project / "step.py").write_text((project / "step.py").read_text().replace('["spoil"', '["nothing"'))
    repeat.main(3)
    assert ran() == ["real6"]


@pytest.mark.slow
def test_code_that_is_edited_while_one_root_seed_is_done_is_not_that_of_the_next(project):
    Path("data/edit").touch()
    Path("data/pictures").write_text("spoil 6")
    with pytest.raises(ConfigError, match=r"^root seed 6"):
        repeat.main(3)
    assert (project / "dasm/code.py").read_text() == "x = 3"
    assert Path(".checkpoints/roots/0/dasm/code.py").read_text() == "x = 1\n"


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.usefixtures("project")
def test_after_one_that_fails_no_other_begins():
    Path("data/pictures").write_text("spoil 5")
    with pytest.raises(ConfigError, match=r"^root seed 5: exit status 255"):
        repeat.main(4)
    assert ran() == ["real4", "real5"]


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.usefixtures("project")
def test_one_that_fails_ends_those_beside_it_at_once(capfd):
    Path("data/hang").touch()
    Path("data/pictures").write_text("spoil 6")
    with pytest.raises(ConfigError, match=r"^root seed 6: exit status 255"):
        repeat.main(5, 2)
    assert "real7" not in ran()
    # Two threads begin at about the same time, in either order.
    begun = sorted(line for line in capfd.readouterr().out.splitlines() if line.endswith("…"))
    assert begun == [f"root seed {seed} …" for seed in (4, 5, 6)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((1,), "repeat: the number of root seeds must be >= 2, got 1"),
        ((3, 0), "repeat: jobs must be >= 1, got 0"),
    ],
)
def test_nonsense_is_refused(arguments, said):
    with pytest.raises(ConfigError, match=said):
        repeat.main(*arguments)


@pytest.mark.slow
def test_it_needs_the_workspace_for_itself(project):  # noqa: ARG001
    with contextlib.ExitStack() as stack:
        stack.enter_context(procs.only_driver())
        with pytest.raises(ConfigError, match=r"^another driver runs"):
            repeat.main(2)
