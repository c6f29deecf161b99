"""What a stage writes of its own cost, and what it must not import."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dasm.train import Trainer
from pipeline.reporting import artefacts
from pipeline.stages import experts
from pipeline.work import passed, runtime, twins
from tests.conftest import make_blobs

ROOT = Path(__file__).parents[2]
COST = {*twins.COST} - {"processes"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_stage_writes_seconds_images_operations_and_device(here, trainer):
    data = make_blobs(16, 0)
    with runtime.ledger("train", "train-dasm-1", arm="dasm") as entry:
        Trainer(network=trainer.network, recipe=trainer.recipe).train(data, 3, stream=0)
        entry["more"] = 1
    written = json.loads((here / "data/ledger/train-dasm-1.json").read_text())
    assert set(written) == {"stage", "name", "arm", "more", *COST}
    assert (written["forward_images"], written["backward_images"], written["device"]) == (48, 48, "cpu")
    # Two convolutions of 4 channels on 8 x 8 and 4 x 4 pixels and a head; three passes, but none back to the images.
    assert written["flops"] == 48 * 2 * (2 * 64 * 4 * 9 + 3 * 16 * 4 * 36 + 3 * 16 * 3)
    row = artefacts._entry(here / "data/ledger/train-dasm-1.json")
    assert row["flops"] == written["flops"] and row["arm"] == "dasm"


def test_a_stage_that_had_nothing_to_do_says_so_in_the_same_words_and_is_no_run(here):
    (here / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    due = here / "data/blueprint/arms/dasm/experts/1.json"
    due.parent.mkdir(parents=True)
    due.write_text('{"experts": false}')
    experts.main("dasm", 1)
    written = json.loads((here / "data/ledger/experts-dasm-1.json").read_text())
    assert set(written) == {"stage", "name", "arm", "passed", *COST}
    assert written["flops"] == written["forward_images"] == 0
    assert written["name"] == "experts-dasm-1"
    assert artefacts._entry(here / "data/ledger/experts-dasm-1.json")["passed"]


@pytest.mark.parametrize(("arm", "shown"), [("dasm", "dasm"), ("real", "")])
def test_it_has_the_name_that_dvc_gives_it_and_the_arm_that_the_report_looks_for(here, monkeypatch, arm, shown):
    (here / "params.yaml").write_text("threads: 1\n")
    monkeypatch.setenv("DVC_STAGE", "as DVC says")
    passed.experts(arm, 0, "")
    written = json.loads((here / f"data/ledger/experts-{arm}-0.json").read_text())
    assert (written["name"], written["arm"]) == ("as DVC says", shown)


WORK = """
import sys
{imports}
from dasm.storage.ledger import metered
from dasm.networks import predict
from dasm.networks.convnet import ConvNet
from dasm.steps.together import train_all
from dasm.train import Recipe, Trainer
from tests.conftest import make_blobs
from pipeline.work import runtime
import torch
torch.set_deterministic_debug_mode("error")
with metered() as cost:
    trainer = Trainer(network=ConvNet(width=4, depth=2), recipe=Recipe())
    for training in ("loop", "together"):
        networks = train_all(trainer, make_blobs(16, 0), 2, [0, 1], training=training)
    predict(networks[0][0], make_blobs(4, 0))
assert cost.counts.flops
sys.exit("torch._dynamo" in sys.modules)
"""


def test_no_stage_imports_the_compiler():
    """It takes seconds, of every stage."""
    names = [file.stem for file in sorted((ROOT / "pipeline/stages").glob("[!_]*.py")) if file.stem != "report"]
    imports = "\n".join(f"import pipeline.stages.{name}" for name in names)
    subprocess.run([sys.executable, "-c", WORK.format(imports=imports)], cwd=ROOT, check=True)
