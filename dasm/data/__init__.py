"""Data sets: one file per source. Each says what it holds and how to read it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from http.client import HTTPException
from typing import Any, final

import numpy as np
from jaxtyping import Int64, UInt8

from dasm.errors import ConfigError

# Imported for the plug-ins, so that `prepare` depends on one and the same modules whichever of them is in use.
from dasm.images.folders import file_source as file_source
from dasm.images.sources import Source, array_blocks
from dasm.images.splits import complete_splits
from dasm.types import Task

# What torchvision's loaders raise without a network, or on files that are not those published.
_FAILURES = (OSError, HTTPException, RuntimeError, ValueError, TypeError, LookupError, EOFError, AssertionError)


class Dataset(ABC):
    """A source of labelled images."""

    @property
    def licence(self) -> str:
        """Of the images, as the Hugging Face hub writes licences; goes into the card of every set made from them."""
        return "unknown"

    def files(self) -> Iterable[str]:
        """List the files that `open` reads, as they are now, so that others can tell whether they have changed.

        Returns:
            Their paths; none where they are published ones, which do not change.

        Raises:
            ConfigError: they cannot be listed; `open` would say so, too.
        """
        return ()

    @abstractmethod
    def open(self, seed: int) -> Source:
        """Find the images, their classes and their splits; pixels that lie in files are read later.

        Args:
            seed: root seed of the splits.

        Raises:
            ConfigError: missing or damaged data; the message names the file and the reason.
        """

    @final
    def load(self, seed: int) -> Task:
        """Read all images into memory. For sets of any size, `dasm.images.prepare` writes arrays read by index.

        Args:
            seed: root seed of the splits.

        Raises:
            ConfigError: missing or damaged data; the message names the file and the reason.
        """
        return self.open(seed).task()


def array_source(
    where: str,
    stored: Mapping[str, tuple[UInt8[np.ndarray, "_ c h w"], Int64[np.ndarray, " _"]]],
    class_names: Sequence[str],
    *,
    seed: int,
    validation: float,
    test: float | None = None,
) -> Source:
    """Make a source of images that are in memory.

    Args:
        where: what messages call the data set.
        stored: images and labels of the splits that it comes with.
        class_names: name of each class, in label order.
        seed: root seed of the splits that it does not come with.
        validation: see `complete_splits`.
        test: likewise.
    """
    for split, (images, labels) in stored.items():
        if len(images) != len(labels):
            raise ConfigError(f"{where}: must have a label for each {split} image, got {len(labels)} for {len(images)}")
    shapes = {images.shape[1:] for images, _ in stored.values()}
    if len(shapes) > 1:
        raise ConfigError(f"{where}: must have one image shape in all splits, got {sorted(shapes)}")
    classes = {split: labels for split, (_, labels) in stored.items()}
    return Source(
        where=where,
        class_names=tuple(class_names),
        labels=np.concatenate(list(classes.values())),
        image_shape=shapes.pop(),
        splits=complete_splits(classes, class_names, where=where, seed=seed, validation=validation, test=test),
        blocks=lambda: array_blocks([images for images, _ in stored.values()]),
    )


def fetch(name: str, root: str, **options: object) -> Any:  # noqa: ANN401 - torchvision is untyped
    """Let one of torchvision's data sets read its files under `root`, after a download if they are not there.

    Raises:
        ConfigError: no network, or files that are not those published.
    """
    from torchvision import datasets  # type: ignore[import-untyped]  # here, because it takes seconds

    try:
        return getattr(datasets, name)(root, download=True, **options)
    except _FAILURES as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{root}: must hold the files of {name}, or let them be downloaded ({reason})") from error
