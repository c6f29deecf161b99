"""A labelled image set before its pixels are read, and the one pass that reads them with bounded memory."""

import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np
import torch
from jaxtyping import Int64, UInt8

from dasm.errors import ConfigError, DamageError, require
from dasm.images.splits import SPLITS, check_labels, check_names
from dasm.types import LabelledImages, Task

#: Reads and decodes a few consecutive images, in any thread.
Block = Callable[[], UInt8[np.ndarray, "b c h w"]]

_BLOCK_BYTES = 1 << 21  # per thread and turn: enough to hide what a turn costs, little enough to hold a few per core
_BLOCK_IMAGES = 256
_SERIAL = 32_767  # pixels; torch shares out a reduction of more among its threads (benchmarks/prepare.py)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """What a data set holds and how to read it.

    Attributes:
        where: what messages call the set: its folder, its file or its name.
        class_names: name of each class, in label order.
        labels: class index of every image, in the order in which they are stored.
        image_shape: channels, height and width of every image.
        splits: ascending indices into `labels` of `train`, `validation` and `test`; an image is in one of them, or in
            none if it is left out.
        blocks: starts one pass over all images in stored order, those left out included.
        truth: what `labels` were before some were changed on purpose; None where none was. For whoever studies what
            wrong labels do: it is stored beside the data set, and no part of the method looks at it.
        names: what each image is called, where it has a name: that of its file, seen from the data set's folder.
    """

    where: str
    class_names: tuple[str, ...]
    labels: Int64[np.ndarray, " n"]
    image_shape: tuple[int, int, int]
    splits: Mapping[str, Int64[np.ndarray, " _"]]
    blocks: Callable[[], Iterator[Block]]
    truth: Int64[np.ndarray, " n"] | None = None
    names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Refuse what no classifier can learn from."""
        check_names(self.class_names, self.where)
        whole = np.issubdtype(self.labels.dtype, np.integer)
        require(whole, f"{self.where}: labels must be integers", str(self.labels.dtype))
        readable = len(self.image_shape) == 3 and self.image_shape[0] in (1, 3) and min(self.image_shape) > 0
        require(readable, f"{self.where}: images must have 1 or 3 channels, height and width", self.image_shape)
        check_labels(self.labels, len(self.class_names), self.where)
        for split in SPLITS:
            if not len(self.splits[split]):
                raise ConfigError(f"{self.where}: must have {split} images, got 0")
        counts = np.bincount(self.labels[self.splits["train"]], minlength=len(self.class_names))
        if not counts.all():
            name = self.class_names[counts.argmin()]
            raise ConfigError(f"{self.where}: must have training images of every class, got none of {name!r}")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def images(self) -> Iterator[tuple[str, UInt8[np.ndarray, "b c h w"]]]:
        """Read every image of the splits once, in stored order, in as many threads as there are cores.

        Yields:
            A split, and its next images. Only a few blocks are in memory at any time.

        Raises:
            ConfigError: missing or damaged data; the message names the files and the reasons. The pass goes on after
                the first damaged image until there are as many as one line names (`DamageError`).
        """
        belongs = np.full(len(self), -1, dtype=np.int8)
        for number, split in enumerate(SPLITS):
            belongs[self.splits[split]] = number
        read, damage = 0, list[str]()
        for waiting in _in_order(self.blocks()):
            try:
                block = waiting.result()
            except ConfigError as error:
                damage += error.found if isinstance(error, DamageError) else [str(error)]
            if len(damage) >= DamageError.most:
                break
            if damage:  # nothing of this pass will be kept
                continue
            kind = f"{block.dtype} {block.shape[1:]}"
            require(kind == f"uint8 {self.image_shape}", f"{self.where}: images must be uint8 {self.image_shape}", kind)
            numbers = belongs[read : read + len(block)]
            read += len(block)
            if read > len(self):
                break
            for number, split in enumerate(SPLITS):
                if (numbers == number).any():
                    yield split, block[numbers == number]
        if damage:
            raise DamageError(damage)
        if read != len(self):
            raise ConfigError(f"{self.where}: must hold {len(self)} images as when it was opened, got {read}")

    def task(self) -> Task:
        """Read all images into memory."""
        arrays = {split: np.empty((len(self.splits[split]), *self.image_shape), dtype=np.uint8) for split in SPLITS}
        filled = dict.fromkeys(SPLITS, 0)
        levels = Levels(self.image_shape[0])
        for split, images in self.images():
            arrays[split][filled[split] : filled[split] + len(images)] = images
            filled[split] += len(images)
            if split == "train":
                levels.add(images)
        mean, std = levels.moments()
        train, validation, test = (
            LabelledImages(
                images=torch.from_numpy(arrays[split]),
                labels=torch.from_numpy(self.labels[self.splits[split]]),
                class_names=self.class_names,
                mean=torch.tensor(mean, dtype=torch.float32),
                std=torch.tensor(std, dtype=torch.float32),
                origin=torch.from_numpy(self.splits[split].astype(np.int64)) if split == "train" else None,
            )
            for split in SPLITS
        )
        return Task(train=train, validation=validation, test=test)


@final
class Levels:
    """How often each of the 256 levels occurs in each channel: exact statistics without a float copy of the images."""

    def __init__(self, channels: int) -> None:
        """Start with no image."""
        self._counts = np.zeros((channels, 256), dtype=np.int64)

    def add(self, images: UInt8[np.ndarray, "b c h w"]) -> None:
        """Count more images."""
        for channel, counts in enumerate(self._counts):
            # Torch's, because it lets go of the interpreter, and takes a third of NumPy's time. In pieces too small for
            # it to share out: its threads would wait for work where the decoders need the cores.
            for pixels in torch.from_numpy(images[:, channel].reshape(-1)).split(_SERIAL):
                counts += torch.bincount(pixels, minlength=256).numpy()

    def moments(self) -> tuple[list[float], list[float]]:
        """Return mean and standard deviation of each channel; pixels are in [0, 1]."""
        levels = np.arange(256) / 255
        mean = [float((counts * levels).sum() / counts.sum()) for counts in self._counts]
        variance = [
            float((counts * (levels - m) ** 2).sum() / counts.sum())
            for counts, m in zip(self._counts, mean, strict=True)
        ]
        # A constant channel would divide by zero; one grey level is the smallest spread an 8-bit image can show.
        return mean, [max(v**0.5, 1 / 255) for v in variance]


def block_length(image_shape: tuple[int, int, int], encoded_bytes: int = 0) -> int:
    """Return how many images of that shape make a block; `encoded_bytes` is what each takes before it is decoded."""
    return max(1, min(_BLOCK_IMAGES, _BLOCK_BYTES // max(math.prod(image_shape), encoded_bytes)))


def array_blocks(arrays: Sequence[UInt8[np.ndarray, "_ c h w"]]) -> Iterator[Block]:
    """Cut arrays into blocks, one array after the other."""
    for array in arrays:
        length = block_length(array.shape[1:])
        for start in range(0, len(array), length):
            yield partial(np.ascontiguousarray, array[start : start + length])


def _in_order(blocks: Iterator[Block]) -> Iterator[Future[np.ndarray]]:
    """Yield what becomes of every block; the caller waits for it, and may go on after one that fails."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Threads, because Pillow lets go of the interpreter while it decodes and resizes (benchmarks/prepare.py).
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[np.ndarray]] = deque()
    try:
        for block in blocks:
            waiting.append(pool.submit(block))
            if len(waiting) > 2 * workers:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        pool.shutdown(cancel_futures=True)
