"""The network that labels every set: made once, where a study wants one, and read by all who judge."""

import copy
import json

import pytest
import torch

from dasm.errors import ConfigError
from dasm.evaluate import evaluate, teach
from dasm.networks.convnet import ConvNet
from pipeline import layout
from pipeline.stages import labeller
from pipeline.work import benchmarking, labelling

RECIPE = {"batch_size": 16, "learning_rate": 0.05, "augmentation": [], "cutmix": 0.0}
STUDY = {
    "seed": 3,
    "threads": 1,
    "benchmark": {
        "networks": [{"name": "convnet", "width": 4, "depth": 2}, {"name": "mlp", "width": 4}],
        "protocol": {"seeds": 2, "steps": 4, "recipe": RECIPE},
    },
}


def study(**protocol):
    found = copy.deepcopy(STUDY)
    found["benchmark"]["protocol"] |= protocol
    return found


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch, task):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(labelling, "read_task", lambda *_: task)


def run(monkeypatch, said):
    monkeypatch.setattr("pipeline.params.read", lambda: said)
    monkeypatch.setattr("pipeline.work.runtime.start", lambda **_: (said, "cpu"))
    labeller.main()
    return json.loads((layout.LEDGER / "labeller.json").read_text())


@pytest.mark.parametrize("options", [{}, {"labels": "own"}, {"labels": "hard"}])
def test_sets_that_keep_labels_of_their_own_have_none(monkeypatch, task, options):
    said = study(**options)
    entry = run(monkeypatch, said)
    assert (entry["passed"], entry["stage"], entry["arm"], entry["flops"]) == (True, "labeller", "", 0)
    assert [file.name for file in layout.LABELLER.iterdir()] == ["none.json"]
    assert labelling.read(said, task.train) is None


def test_every_set_is_judged_with_the_labels_of_one_network(monkeypatch, task, tmp_path):
    """Of the architecture that is distilled with, for both networks; and what is read is what was trained."""
    said = study(labels="teacher", teacher_steps=7)
    entry = run(monkeypatch, said)
    assert "passed" not in entry and entry["flops"] > 0
    protocol = labelling.params.section(said, labelling.Protocol, "benchmark.protocol")
    expected = teach(protocol, ConvNet(width=4, depth=2), task, 3)
    found = labelling.read(said, task.train)
    assert all(
        torch.equal(a, b) for a, b in zip(expected.state_dict().values(), found.state_dict().values(), strict=True)
    )
    assert not found.training
    asked = []

    def judging(protocol, network, parts, task, seed, teacher):
        asked.append((type(network).__name__, teacher))
        return evaluate(protocol, network, parts, task, seed, teacher)

    monkeypatch.setattr(benchmarking, "evaluate", judging)
    identity = {"arm": "full", "prefix_ipc": 0, "stored_images": 3}
    benchmarking.judge(said, tmp_path / "r.parquet", [task.train], task, identity, found)
    assert [name for name, _ in asked] == ["ConvNet", "MLP"]
    assert all(teacher is found for _, teacher in asked)


def test_a_network_that_is_not_there_is_named(task):
    with pytest.raises(ConfigError, match=r"^data/labeller/e0-t0\.safetensors: must be a trained network, got none$"):
        labelling.read(study(labels="teacher"), task.train)


def test_its_precision_is_that_of_the_recipe(monkeypatch, task):
    said = study(labels="teacher", recipe={**RECIPE, "precision": "bf16"})
    run(monkeypatch, said)
    assert labelling.read(said, task.train).precision == "bf16"
