"""The benchmark of a set, before it costs anything."""

import pytest

from dasm.errors import ConfigError
from dasm.train import Trainer
from pipeline.work import benchmarking


def test_a_network_that_cannot_see_such_images_is_named_before_the_first_one_trains(task, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "train", lambda *_, **__: pytest.fail("trained"))
    study = {
        "seed": 0,
        "benchmark": {
            "networks": [{"name": "convnet", "width": 4, "depth": 2}, {"name": "lenet"}],
            "protocol": {"seeds": 2, "steps": 2, "recipe": {}},
        },
    }
    with pytest.raises(ConfigError, match=r"benchmark\.networks\[1\]: sides must be >= 12 for lenet, got \(8, 8\)"):
        benchmarking.judge(study, tmp_path / "r.parquet", [task.train], task, {"arm": "dasm"}, None)
    assert not list(tmp_path.iterdir())
