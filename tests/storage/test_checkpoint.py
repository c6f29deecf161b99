from pathlib import Path

import pytest
import torch

from dasm.storage.checkpoint import Checkpoint


def test_there_is_nothing_to_load_at_first(tmp_path):
    assert Checkpoint(tmp_path / "state.safetensors").load() is None


def test_what_was_offered_is_loaded_bit_for_bit(tmp_path):
    checkpoint = Checkpoint(tmp_path / "deep" / "state.safetensors", every_seconds=0.0)
    noise = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    offered = {"a": noise.T, "step": torch.tensor(7), "b": (noise * 2).requires_grad_()}
    checkpoint.offer(lambda: offered)
    loaded = Checkpoint(tmp_path / "deep" / "state.safetensors").load()
    assert loaded.keys() == offered.keys()
    for name, tensor in offered.items():
        assert torch.equal(loaded[name], tensor) and loaded[name].dtype == tensor.dtype


def test_a_later_offer_replaces_an_earlier_one(tmp_path):
    checkpoint = Checkpoint(tmp_path / "state.safetensors", every_seconds=0.0)
    for step in range(3):
        checkpoint.offer(lambda step=step: {"step": torch.tensor(step)})
    assert checkpoint.load()["step"] == 2


def test_an_offer_is_taken_only_when_the_last_is_old_enough(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("dasm.storage.checkpoint.time.monotonic", lambda: now[0])
    checkpoint = Checkpoint(tmp_path / "state.safetensors", every_seconds=20.0)
    asked = []

    def offer():
        checkpoint.offer(lambda: asked.append(now[0]) or {"time": torch.tensor(now[0])})

    for time in (119.0, 120.0, 125.0, 139.5, 140.0):
        now[0] = time
        offer()
    assert asked == [120.0, 140.0]
    assert checkpoint.load()["time"] == 140


def test_a_state_that_takes_long_to_save_is_saved_less_often(tmp_path, monkeypatch):
    """Three seconds: a twentieth of a minute."""
    now = [100.0]
    monkeypatch.setattr("dasm.storage.checkpoint.time.monotonic", lambda: now[0])
    checkpoint, asked = Checkpoint(tmp_path / "state.safetensors", every_seconds=20.0), []

    def tensors():
        asked.append(now[0])
        now[0] += 3
        return {"time": torch.tensor(now[0])}

    for time in (120.0, 143.5, 182.0, 183.0, 206.5, 246.0):
        now[0] = time
        checkpoint.offer(tensors)
    assert asked == [120.0, 183.0, 246.0]


def test_a_write_that_fails_leaves_the_last_state(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path / "state.safetensors", every_seconds=0.0)
    checkpoint.offer(lambda: {"step": torch.tensor(1)})

    def half_written(_, path):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("dasm.storage.checkpoint.save_file", half_written)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.offer(lambda: {"step": torch.tensor(2)})
    assert checkpoint.load()["step"] == 1


def test_a_loaded_state_does_not_hang_on_the_file(tmp_path):
    checkpoint = Checkpoint(tmp_path / "state.safetensors", every_seconds=0.0)
    checkpoint.offer(lambda: {"a": torch.ones(4)})
    loaded = checkpoint.load()
    checkpoint.offer(lambda: {"a": torch.zeros(4)})
    loaded["a"] += 1
    assert loaded["a"].tolist() == [2] * 4
    assert checkpoint.load()["a"].tolist() == [0] * 4


def test_a_removed_state_is_gone_and_may_be_removed_again(tmp_path):
    checkpoint = Checkpoint(tmp_path / "state.safetensors", every_seconds=0.0)
    checkpoint.offer(lambda: {"a": torch.ones(1)})
    checkpoint.remove()
    checkpoint.remove()
    assert checkpoint.load() is None
    assert list(tmp_path.iterdir()) == []
