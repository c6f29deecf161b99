"""Tiny ImageNet: 110,000 photographs of 200 classes, 64x64 pixels (Stanford CS231n, 2015), in its published folder.

`wnids.txt` lists the classes, `words.txt` says what they are called, training images are `train/<wnid>/images/*.JPEG`,
and `val/val_annotations.txt` says which class each of `val/images/` belongs to. `test/` has no labels, and is not read.
Classes are in the order of their wnids by code point, which is not that of `wnids.txt`.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from dasm.data import Dataset, file_source
from dasm.errors import ConfigError, within
from dasm.images.folders import folders_in, image_files, read_lines
from dasm.images.reading import Color, ImageReader
from dasm.images.sources import Source
from dasm.images.splits import check_names


@final
@dataclass(frozen=True, kw_only=True)
class TinyImageNet(Dataset):
    """The published validation images are the benchmark. A class is called by all its words, as in `words.txt`.

    Attributes:
        root: the folder, mostly called `tiny-imagenet-200`.
        size: pixels per side to resize and cut to, in [1, 1e4]; without one, they stay 64.
        color: convert every image to `rgb` or `grey`.
        validation: share of every training class held out for choices, in (0, 1).
    """

    root: str
    size: int | None = None
    color: Color = "rgb"
    validation: float = 0.1

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        ImageReader(size=self.size)
        within(self, "(0, 1)", "validation")

    def files(self) -> Iterator[str]:
        root = Path(self.root)
        yield from (str(root / name) for name in ("wnids.txt", "words.txt", "val/val_annotations.txt"))
        for folder in (*(root / "train" / wnid / "images" for wnid in self._wnids()), root / "val/images"):
            yield from image_files(folder)

    def open(self, seed: int) -> Source:
        root, wnids = Path(self.root), self._wnids()
        return file_source(
            self.root,
            _names(root / "words.txt", wnids),
            {
                "train": [image_files(root / "train" / wnid / "images") for wnid in wnids],
                "test": _annotated(root / "val", wnids),
            },
            ImageReader(color=self.color, size=self.size),
            seed=seed,
            validation=self.validation,
        )

    def _wnids(self) -> list[str]:
        root = Path(self.root)
        wnids = sorted(line.strip() for line in read_lines(root / "wnids.txt") if line.strip())
        check_names(wnids, f"{root / 'wnids.txt'}")
        if folders_in(root / "train") != wnids:
            odd = sorted(set(folders_in(root / "train")) ^ set(wnids))[0]
            raise ConfigError(f"{root / 'train'}: must have the classes of wnids.txt, but not so {odd!r}")
        return wnids


def _names(path: Path, wnids: list[str]) -> list[str]:
    words = dict(line.split("\t", 1) for line in read_lines(path) if "\t" in line)
    names = [words.get(wnid, "").strip() for wnid in wnids]
    count = Counter(names)
    # Two classes share their words (cranes that fly and cranes that lift), or have none.
    return [
        name if name and count[name] == 1 else f"{name} {wnid}".strip() for name, wnid in zip(names, wnids, strict=True)
    ]


def _annotated(folder: Path, wnids: list[str]) -> list[list[str]]:
    path = folder / "val_annotations.txt"
    present = set(image_files(folder / "images"))
    files: dict[str, list[str]] = {wnid: [] for wnid in wnids}
    for number, line in enumerate(read_lines(path), start=1):
        name, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0]
        if wnid not in files:
            raise ConfigError(f"{path}: line {number} must name a class of wnids.txt, got {wnid!r}")
        file = str(folder / "images" / name)
        if file not in present:
            raise ConfigError(f"{path}: line {number} must name an image in images/ not named before, got {name!r}")
        present.remove(file)
        files[wnid].append(file)
    if present:
        raise ConfigError(f"{path}: must say the class of every image, got none for {min(present)}")
    return [sorted(files[wnid]) for wnid in wnids]
