"""Any folder of class folders, in the layout of torchvision's `ImageFolder` (2017), with or without split folders.

With splits: `train/<class>/…` beside `test/<class>/…`, `val/…`, `valid/…` or `validation/…`. Test is the benchmark and
val is for choices; where there is only one of them, it is the benchmark, and validation images are drawn from train.
Without: `<class>/…`, and both are drawn by seed inside each class. Two folders that hold no image themselves, but at
least two folders of the same names, look like splits that are called otherwise, and are refused; where they are classes
all the same (each with its `left` and `right`), `only_classes` says so.

Classes are in the order of their folders' names, by code point (`10` before `2`, `Z` before `a`), and every split has
the same ones. Images lie in a class folder or in folders below it, and are stored in the order of their paths. Files
and folders whose names start with a dot are left alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import final

from dasm.data import Dataset, file_source
from dasm.errors import ConfigError, require, within
from dasm.images.folders import folders_in, has_images, image_files
from dasm.images.reading import Color, ImageReader
from dasm.images.sources import Source
from dasm.images.splits import stored_splits


@final
@dataclass(frozen=True, kw_only=True)
class ImageFolder(Dataset):
    """Images of any size and format; `dasm.images.reading` says what becomes of them.

    Attributes:
        root: the folder.
        size: pixels per side to resize and cut to, in [1, 1e4]; without one, all images must have one size.
        color: convert every image to `rgb` or `grey`.
        only_classes: every folder is a class, whatever it is called and whatever folders it holds: none is a split.
        test: share of all images held out for the benchmark where there is no folder for it, in (0, 1).
        validation: share of the training images (without split folders: of all images) held out for choices where
            there is no folder for them, in (0, 1); test + validation < 1.
    """

    root: str
    size: int | None = None
    color: Color = "rgb"
    only_classes: bool = False
    test: float = 0.2
    validation: float = 0.1

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        ImageReader(size=self.size)
        within(self, "(0, 1)", "test", "validation")
        require(self.test + self.validation < 1, "test + validation must be < 1", self.test + self.validation)

    def files(self) -> Iterator[str]:
        _, stored = self._stored()
        return (file for classes in stored.values() for files in classes for file in files)

    def open(self, seed: int) -> Source:
        classes, stored = self._stored()
        return file_source(
            self.root,
            classes,
            stored,
            ImageReader(color=self.color, size=self.size),
            seed=seed,
            validation=self.validation,
            test=self.test,
        )

    def _stored(self) -> tuple[list[str], dict[str, list[list[str]]]]:
        """Return the classes, and the files of each in every split that there is."""
        root = Path(self.root)
        present = folders_in(root)
        named = {} if self.only_classes else stored_splits(present, self.root)
        if not named and not self.only_classes:
            _check_classes(root, present)
        splits = {split: root / name for split, name in named.items()} or {"train": root}
        classes = folders_in(splits["train"])
        for folder in splits.values():
            if folders_in(folder) != classes:
                odd = sorted(set(folders_in(folder)) ^ set(classes))[0]
                raise ConfigError(f"{folder}: must have the class folders of {splits['train']}, but not so {odd!r}")
        return classes, {split: [image_files(folder / name) for name in classes] for split, folder in splits.items()}


def _check_classes(root: Path, names: Sequence[str]) -> None:
    """Refuse folders that look like splits whose names say nothing to us: their images lie in the same classes."""
    inside = {name: set(folders_in(root / name)) for name in names}
    alike = {name: below for name, below in inside.items() if len(below) > 1 and not has_images(root / name)}
    for one, other in combinations(alike, 2):
        both = sorted(alike[one] & alike[other])
        if len(both) > 1:
            raise ConfigError(
                f"{root}: must call its splits train and test (and val), got {one!r} and {other!r}, which both hold"
                f" folders {both[0]!r} and {both[1]!r} (if they are classes, say only_classes: true)"
            )
