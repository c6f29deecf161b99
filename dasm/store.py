"""A prepared task on disk: 8-bit arrays that are read by index through a memory map, and what they mean."""

import json
from pathlib import Path

import numpy as np
import torch

from dasm.errors import ConfigError
from dasm.tables import write_atomically
from dasm.types import LabelledImages, Task

_SPLITS = ("train", "validation", "test")


def write_task(folder: Path, task: Task) -> None:
    """Write `<split>.images.npy` (n c h w, uint8), `<split>.labels.npy` (n, int64) and `meta.json`."""
    for split in _SPLITS:
        data: LabelledImages = getattr(task, split)
        for kind in ("images", "labels"):
            array = getattr(data, kind).numpy()
            write_atomically(folder / f"{split}.{kind}.npy", lambda path, array=array: _save(path, array))  # type: ignore[misc]
    meta = {
        "class_names": list(task.train.class_names),
        "mean": task.train.mean.tolist(),
        "std": task.train.std.tolist(),
    }
    write_atomically(folder / "meta.json", lambda path: path.write_text(json.dumps(meta, indent=1) + "\n"))


def read_split(folder: Path, split: str, device: str = "cpu") -> LabelledImages:
    """Read one split of a prepared task.

    Raises:
        ConfigError: the folder is not one that `write_task` wrote.
    """
    try:
        meta = json.loads((folder / "meta.json").read_text())
        images, labels = (
            torch.from_numpy(np.load(folder / f"{split}.{kind}.npy", allow_pickle=False))
            for kind in ("images", "labels")
        )
        return LabelledImages(
            images=images,
            labels=labels,
            class_names=tuple(meta["class_names"]),
            mean=torch.tensor(meta["mean"]),
            std=torch.tensor(meta["std"]),
        ).to(device)
    except (OSError, EOFError, KeyError, ValueError) as error:
        raise ConfigError(f"{folder}: must be a prepared data set ({error})") from error


def read_task(folder: Path, device: str = "cpu") -> Task:
    """Read all splits of a prepared task."""
    train, validation, test = (read_split(folder, split, device) for split in _SPLITS)
    return Task(train=train, validation=validation, test=test)


def _save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
