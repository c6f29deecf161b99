"""GPUs that are lent to stages: those that are named, or those that a made-up nvidia-smi lists."""

from pathlib import Path

import pytest

from pipeline.drivers.devices import several

ONE = "GPU 0: NVIDIA H200 (UUID: GPU-aa-1)\n"
TWO = f"{ONE}GPU 1: NVIDIA H200 (UUID: GPU-bb-2)\n"
SLICED = f"{ONE}  MIG 1g.18gb     Device  0: (UUID: MIG-c)\n  MIG 1g.18gb     Device  1: (UUID: MIG-d)\n"


@pytest.fixture(autouse=True)
def bare(tmp_path, monkeypatch):
    """Nothing is named, and there is no tool."""
    for name in ("CUDA_VISIBLE_DEVICES", "DASM_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    return tmp_path


def lists(folder: Path, text: str, status: int = 0) -> None:
    tool = folder / "nvidia-smi"
    (folder / "said").write_text(text)
    tool.write_text(f'#!/bin/sh\n[ "$*" = -L ] && cat {folder}/said\nexit {status}\n')
    tool.chmod(0o755)


@pytest.mark.parametrize(
    ("text", "found"), [(ONE, None), (TWO, ["GPU-aa-1", "GPU-bb-2"]), (SLICED, ["MIG-c", "MIG-d"]), ("", None)]
)
def test_where_nothing_is_named_all_there_are_are_lent(bare, text, found):
    assert several() is None
    lists(bare, text)
    assert several() == found


def test_a_tool_without_a_driver_lists_nothing(bare):
    lists(bare, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", 9)
    assert several() is None


@pytest.mark.parametrize(("named", "found"), [("0,3", ["0", "3"]), ("1", None), ("", None)])
def test_those_that_are_named_are_lent_and_no_other(bare, monkeypatch, named, found):
    lists(bare, TWO)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert several() == found


@pytest.mark.parametrize(("device", "found"), [("cpu", None), ("cuda:1", None), ("cuda", ["GPU-aa-1", "GPU-bb-2"])])
def test_a_device_that_every_stage_is_told_leaves_nothing_to_lend(bare, monkeypatch, device, found):
    lists(bare, TWO)
    monkeypatch.setenv("DASM_DEVICE", device)
    assert several() == found
