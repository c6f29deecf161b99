"""A segment distilled by the processes that torchrun starts, and one that ends before its plan does."""

import json
import os
import subprocess
import sys

import pytest
from ruamel.yaml import YAML

from dasm.errors import ConfigError
from dasm.tables import read_segments
from pipeline import layout
from pipeline.work import runtime
from tests.graph import ROOT

pytestmark = pytest.mark.deep

_STAGE = """
from tests.conftest import make_blobs
from pipeline.work import distillation
distillation.read_split = lambda *_: make_blobs(16, seed=0)
distillation.run("distill", "plain", 0, windowed=False)
"""
_RECIPE = {"batch_size": 16, "learning_rate": 0.05, "augmentation": ["color"], "cutmix": 0.0}
_TRAINER = {"network": {"name": "convnet", "width": 4, "depth": 2}, "recipe": _RECIPE}
_OBJECTIVE = {"name": "gradient", "real_batch": 8, "inner_iterations": 2, "network_images": 16}


def distil(folder, *launcher, **matching):
    """Run the stage in an empty project; return its ledger entry and its segment."""
    options = {"objective": _OBJECTIVE, "trainer": _TRAINER, "learning_rate": 0.5, **matching}
    plan = {"s0": {"ipc": 1, "iterations": 12}}
    study = {"seed": 3, "threads": 1, "arms": ["plain"], "method": {}, "experts": None, "planned_ipc": 2}
    with (folder / "params.yaml").open("w") as file:
        YAML().dump(study | {"matching": options, "segment": plan}, file)
    (folder / "stage.py").write_text(_STAGE)
    start = folder / layout.distilled("plain", 0)
    start.mkdir(parents=True)
    (start / "state.json").write_text('{"segments": 0, "images_per_class": 0, "iterations": 0}')
    variables = {"PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "DASM_DEVICE": "cpu"}
    said = subprocess.run(
        [sys.executable, *launcher, "stage.py"],
        cwd=folder,
        env=os.environ | variables | {"DASM_CHECKPOINT_SECONDS": "0"},
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    (segment,) = read_segments(folder / layout.distilled("plain", 1))
    return json.loads((folder / layout.LEDGER / "distill-plain-0.json").read_text()), segment


@pytest.mark.slow
def test_two_processes_write_once_what_one_writes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    alone, expected = distil(tmp_path / "one")
    entry, segment = distil(tmp_path / "two", "-m", "torch.distributed.run", "--nproc-per-node", "2")
    # A level of difference is a rounding of sums that fell on the other side.
    assert int((segment.images.int() - expected.images.int()).abs().max()) <= 1
    assert entry["distances"] == pytest.approx(alone["distances"], rel=1e-3)
    assert (entry["processes"], entry["iterations"]) == (2, 12)
    assert "processes" not in alone
    files = {
        name: sorted(str(file.relative_to(tmp_path / name)) for file in (tmp_path / name).rglob("*.*"))
        for name in ("one", "two")
    }
    assert files["one"] == files["two"], "nothing is left of either, checkpoints included"


def test_the_iterations_that_were_done_are_those_on_record(tmp_path):
    entry, segment = distil(tmp_path, patience=3, tolerance=0.9)
    assert entry["iterations"] == len(entry["distances"]) == segment.iterations == 8
    state = json.loads((tmp_path / layout.distilled("plain", 1) / "state.json").read_text())
    assert state["iterations"] == 8


def test_several_processes_do_no_stage_that_cannot_be_split(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(ConfigError, match=r"^torchrun: only distilling can be split, got 3 processes \(run one\)$"):
        runtime._join(False, "cpu")
