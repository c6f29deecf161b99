"""Images in folders, a folder per class: which there are, in which order, and how they are read."""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from dasm.errors import ConfigError
from dasm.images.reading import Encoded, ImageReader, read_bytes
from dasm.images.sources import Block, Source, block_length
from dasm.images.splits import check_names, complete_splits

#: Files with other endings are no images, and are left alone, as torchvision does.
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def folders_in(folder: Path) -> list[str]:
    """Return the names of the visible folders in a folder, by code point: `10` before `2`, `Z` before `a`.

    Raises:
        ConfigError: no such folder, or one that may not be read; a link that leads nowhere.
    """
    return sorted(entry.name for entry in _entries(folder) if _is_folder(entry))


def has_images(folder: Path) -> bool:
    """Return whether a visible image lies in a folder itself, not only in folders below it.

    Raises:
        ConfigError: as `folders_in`.
    """
    return any(_is_image(entry) and not _is_folder(entry) for entry in _entries(folder))


def image_files(folder: Path) -> list[str]:
    """Return the paths of the visible images in a folder and in the folders below it, by code point.

    Raises:
        ConfigError: there is none; a link that leads nowhere, or back to a folder above it.
    """
    found = sorted(_images_below(folder, ()))
    if not found:
        raise ConfigError(f"{folder}: must hold images ({', '.join(SUFFIXES)}), got none")
    return found


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file.

    Raises:
        ConfigError: no such file, or no text.
    """
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{path}: must be a readable file ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: must be text in UTF-8 ({error.reason})") from error


def file_source(
    root: str,
    class_names: Sequence[str],
    stored: Mapping[str, Sequence[Sequence[str]]],
    reader: ImageReader,
    *,
    seed: int,
    validation: float,
    test: float | None = None,
) -> Source:
    """Make a source of image files.

    Args:
        root: what messages call the data set.
        class_names: name of each class, in label order.
        stored: files of each split that there is, class by class in label order.
        reader: how a file becomes pixels. Without a size, the first file says what size all must have.
        seed: root seed of the splits that there are not.
        validation: see `complete_splits`.
        test: likewise.
    """
    check_names(class_names, root)
    labels = {
        split: np.repeat(np.arange(len(classes)), [len(files) for files in classes])
        for split, classes in stored.items()
    }
    paths = [path for classes in stored.values() for files in classes for path in files]
    shape = reader.shape(_encoded(paths))

    def blocks() -> Iterator[Block]:
        length = block_length(shape)
        for start in range(0, len(paths), length):
            yield partial(_block, paths[start : start + length], reader, shape)

    above = f"{Path(root)}/"
    return Source(
        where=root,
        class_names=tuple(class_names),
        labels=np.concatenate(list(labels.values())),
        image_shape=shape,
        splits=complete_splits(labels, class_names, where=root, seed=seed, validation=validation, test=test),
        blocks=blocks,
        names=[path.removeprefix(above) for path in paths],
    )


def _encoded(paths: Sequence[str]) -> Iterator[Encoded]:
    # A `map`, because a generator ends with the first file that may not be read.
    return map(_read, paths)


def _read(path: str) -> Encoded:
    return f"{path}:", read_bytes(path)


def _block(paths: Sequence[str], reader: ImageReader, shape: tuple[int, int, int]) -> UInt8[np.ndarray, "b c h w"]:
    return reader.block(_encoded(paths), shape, len(paths))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return [entry for entry in found if not entry.name.startswith(".")]
    except OSError as error:
        raise ConfigError(f"{folder}: must be a readable folder ({error.strerror})") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        if entry.is_symlink():
            entry.stat()
        return entry.is_dir()
    except OSError as error:
        raise ConfigError(f"{entry.path}: must be a link that leads somewhere ({error.strerror})") from error


def _is_image(entry: os.DirEntry[str]) -> bool:
    return os.path.splitext(entry.name)[1].lower() in SUFFIXES  # noqa: PTH122 - a Path per file costs seconds


def _images_below(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    entries = _entries(folder)
    found = folder.stat()
    here = (found.st_dev, found.st_ino)
    if here in above:
        raise ConfigError(f"{folder}: must not lead back to a folder above it (a symbolic link in a loop)")
    for entry in entries:
        if _is_folder(entry):
            yield from _images_below(Path(entry.path), (*above, here))
        elif _is_image(entry):
            yield entry.path
