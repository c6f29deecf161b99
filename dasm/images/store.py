"""A prepared task on disk: 8-bit arrays, read by index through a memory map (`dasm.images.prepare` writes them)."""

import json
import mmap
import sys
from pathlib import Path

import numpy as np
import torch

from dasm.errors import ConfigError
from dasm.types import LabelledImages, Task

META = "meta.json"
# A mapping that may be written to counts against the machine's memory as a whole, unless it says that it will not be.
# Python names it late.
_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)

#: Where every training image stands among all images of the data set, in stored order, from 0.
ORIGIN = "train.origin.npy"


def array_file(split: str, kind: str) -> str:
    """Return the name of the file that holds the `images` or the `labels` of a split."""
    return f"{split}.{kind}.npy"


def read_split(folder: Path, split: str, device: str = "cpu") -> LabelledImages:
    """Read one split of a prepared task.

    On the CPU only the images that are asked for are read, when they are asked for: a split may be larger than memory.
    Other devices take all of it.

    Raises:
        ConfigError: the folder is not one that `dasm.images.prepare` wrote.
    """
    try:
        meta = json.loads((folder / META).read_text())
        images = _mapped(folder / array_file(split, "images"))
        labels = np.load(folder / array_file(split, "labels"), allow_pickle=False)
        # What an earlier version has prepared holds none, and is prepared again; `check` looks into it before that.
        known = split == "train" and (folder / ORIGIN).exists()
        origin = torch.from_numpy(np.load(folder / ORIGIN, allow_pickle=False)) if known else None
        return LabelledImages(
            images=torch.from_numpy(images),
            labels=torch.from_numpy(labels),
            class_names=tuple(meta["class_names"]),
            mean=torch.tensor(meta["mean"]),
            std=torch.tensor(meta["std"]),
            origin=origin,
        ).to(device)
    except (OSError, EOFError, KeyError, ValueError) as error:
        raise ConfigError(f"{folder}: must be a prepared data set ({error})") from error


def _mapped(path: Path) -> np.ndarray:
    # Copy on write: torch warns of arrays that cannot be written, and the file stays as it is.
    found = np.load(path, mmap_mode="r", allow_pickle=False)
    with path.open("rb") as file:
        access = mmap.PROT_READ | mmap.PROT_WRITE
        memory = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE | _NO_RESERVE, prot=access)
    return np.ndarray(found.shape, found.dtype, memory, found.offset)


def read_task(folder: Path, device: str = "cpu") -> Task:
    """Read all splits of a prepared task."""
    train, validation, test = (read_split(folder, split, device) for split in ("train", "validation", "test"))
    return Task(train=train, validation=validation, test=test)
