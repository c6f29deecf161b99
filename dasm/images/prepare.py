"""Decode a data set once, into arrays on disk that are read by index (`dasm.images.store`), with bounded memory."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from numpy.lib import format as npy

from dasm.errors import ConfigError
from dasm.images.sources import Levels, Source
from dasm.images.splits import SPLITS
from dasm.images.store import META, ORIGIN, array_file
from dasm.images.truth import TRUTH
from dasm.storage.parquet import write_table


def write_source(folder: Path, source: Source, *, track: Callable[[range], Iterable[int]] = iter) -> None:
    """Write `<split>.images.npy` (n c h w, uint8), `<split>.labels.npy`, `train.origin.npy` (n, int64) and `meta.json`.

    If labels were changed on purpose, those of the training images before that go beside them (`dasm.images.truth`).
    The same content gives the same bytes. Everything is written beside `folder` and moved into it at the end, so that
    it holds a whole data set or none.

    Args:
        folder: where to.
        source: the data set.
        track: wraps the range of images, to show progress.

    Raises:
        ConfigError: missing or damaged data; the message names the file and the reason.
    """
    draft = folder.with_name(f".{folder.name}.tmp")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        _write(draft, source, iter(track(range(sum(map(len, source.splits.values()))))))
        folder.mkdir(exist_ok=True)
        # What says that a data set is whole goes first and comes last; the older one's truth is not the new one's.
        for name in (META, TRUTH):
            (folder / name).unlink(missing_ok=True)
        for file in sorted(draft.iterdir(), key=lambda file: file.name == META):
            file.replace(folder / file.name)
    except OSError as error:
        raise ConfigError(f"{folder}: must be a folder that can be written ({error.strerror})") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_images(path: Path, source: Source) -> None:
    """Write a row per training image, in the order of difficulty tables: where it stands in the data set, and its name.

    `origin` counts all images of the data set in stored order, from 0. Names of those that have none are missing.
    """
    origin = source.splits["train"]
    # Names of files are bytes, and need not be text.
    names = [
        None if source.names is None else os.fsencode(source.names[place]).decode(errors="replace") for place in origin
    ]
    columns = {
        "index": pa.array(np.arange(len(origin)), pa.int32()),
        "origin": pa.array(origin, pa.int64()),
        "label": pa.array(source.labels[origin], pa.int64()),
        "name": pa.array(names, pa.string()),
    }
    write_table(path, columns, "images/1", {"class_names": list(source.class_names)})


def _write(folder: Path, source: Source, progress: Iterator[int]) -> None:
    levels = Levels(source.image_shape[0])
    with ExitStack() as stack:

        def create(name: str) -> BinaryIO:
            file = stack.enter_context((folder / name).open("wb"))
            stack.callback(_sync, file)
            return file

        images = {split: create(array_file(split, "images")) for split in SPLITS}
        for split, file in images.items():
            # Written, not mapped: pages of a map count as memory, and a full disk would kill the process.
            shape = (len(source.splits[split]), *source.image_shape)
            npy.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            np.save(create(array_file(split, "labels")), source.labels[source.splits[split]], allow_pickle=False)
        np.save(create(ORIGIN), source.splits["train"].astype(np.int64), allow_pickle=False)
        if source.truth is not None:
            np.save(create(TRUTH), source.truth[source.splits["train"]], allow_pickle=False)
        for split, block in source.images():
            images[split].write(block.data)
            if split == "train":
                levels.add(block)
            for _ in block:
                next(progress, None)
        for _ in progress:  # lets a progress bar close itself
            pass
        mean, std = (np.array(moment, dtype=np.float32).tolist() for moment in levels.moments())
        meta = {"class_names": list(source.class_names), "mean": mean, "std": std}
        create(META).write((json.dumps(meta, indent=1) + "\n").encode())


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
