"""Some classes of ImageNet (Deng et al., 2009; ILSVRC 2012): IDC's ImageNet-10 and -100, ImageNette, ImageWoof, others.

The folder holds `train/<wnid>/…` and `val/<wnid>/…`; the classes are named in a file, one wnid a line (empty lines and
lines that start with # do not count). Lists differ between papers under one name: compare only results of one list.

Deviations: 1. classes are in the order of their wnids by code point, whatever the order of the list, so that one set
of classes is one task (IDC numbers them by line). 2. Sizes: `dasm.images.reading`; IDC cuts training images at random.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

from dasm.data import Dataset, file_source
from dasm.errors import ConfigError, within
from dasm.images.folders import image_files, read_lines
from dasm.images.reading import Color, ImageReader
from dasm.images.sources import Source
from dasm.images.splits import check_names


@final
@dataclass(frozen=True, kw_only=True)
class ImageNetSubset(Dataset):
    """The published validation images are the benchmark; classes are called by their wnid.

    Attributes:
        root: the folder of ImageNet.
        classes: the file that lists the classes.
        size: pixels per side to resize and cut to, in [1, 1e4].
        color: convert every image to `rgb` or `grey`.
        validation: share of every training class held out for choices, in (0, 1).
    """

    root: str
    classes: str
    size: int = 224
    color: Color = "rgb"
    validation: float = 0.1

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        ImageReader(size=self.size)
        within(self, "(0, 1)", "validation")

    def files(self) -> Iterator[str]:
        yield self.classes
        for classes in self._stored(self._wnids()).values():
            for files in classes:
                yield from files

    def open(self, seed: int) -> Source:
        wnids = self._wnids()
        return file_source(
            self.root,
            wnids,
            self._stored(wnids),
            ImageReader(color=self.color, size=self.size),
            seed=seed,
            validation=self.validation,
        )

    def _wnids(self) -> list[str]:
        lines = [line.strip() for line in read_lines(Path(self.classes))]
        wnids = sorted(line for line in lines if line and not line.startswith("#"))
        check_names(wnids, self.classes)
        for wnid in wnids:
            if Path(wnid).name != wnid or wnid == "..":
                raise ConfigError(f"{self.classes}: must have the name of a folder a line, got {wnid!r}")
        return wnids

    def _stored(self, wnids: list[str]) -> dict[str, list[list[str]]]:
        folders = {"train": "train", "test": "val"}
        return {
            split: [image_files(Path(self.root, folder, wnid)) for wnid in wnids] for split, folder in folders.items()
        }
