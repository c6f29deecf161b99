"""Rows of images for the report: what was distilled, beside the real images of the window it was distilled against."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from math import isnan
from pathlib import Path
from typing import final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from dasm.errors import ConfigError, require
from pipeline import layout
from pipeline.reporting.artefacts import read_parquet, segment_files
from pipeline.reporting.strips import Pixels, Strip, evenly, strip

#: What is read of a segment.
SET_COLUMNS = ("image", "label", "segment", "factor", "window_lower", "window_upper")


@final
@dataclass(frozen=True, kw_only=True)
class Most:
    """How much of a set is shown: of the classes and of the images of each at most so many, evenly chosen."""

    classes: int = 10
    images: int = 6


@final
@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One segment, or several joined.

    Attributes:
        index: of the (first) segment.
        ipc: stored images per class.
        factor: multi-formation factor.
        lower: edge of the window as a rank fraction; 0 without a window.
        upper: likewise; 1 without a window.
        moved: how far its pixels went from where they started, in levels of 255; None where it is not known.
        rows: class name, synthetic images, real images of the window (None without a window); a few, evenly chosen.
    """

    index: int
    ipc: int
    factor: int
    lower: float
    upper: float
    rows: tuple[tuple[str, Strip, Strip | None], ...]
    moved: float | None = None


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Real:
    """The real training images, read by index through a memory map."""

    images: Pixels
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]

    @classmethod
    def read(cls, root: Path) -> "Real":
        """Open the prepared data set."""
        folder = root / layout.REAL
        try:
            names = json.loads((folder / "meta.json").read_text())["class_names"]
            images, labels = (
                np.load(folder / f"train.{kind}.npy", mmap_mode="r", allow_pickle=False)
                for kind in ("images", "labels")
            )
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(f"{folder}: must be a prepared data set, got {error!r}") from error
        return cls(images=images, labels=labels, class_names=tuple(names))

    def across(self, label: int, difficulty: pd.DataFrame, images: int) -> Strip:
        """Return at most so many images of one class, even over the ranks of the window."""
        labels, weights, ranks, indices = (difficulty[name].to_numpy() for name in ("label", "weight", "rank", "index"))
        inside = np.flatnonzero((labels == label) & (weights > 0))
        ranked = indices[inside[np.argsort(ranks[inside], kind="stable")]]
        chosen = ranked[evenly(len(ranked), images)]
        return strip([self.images[i].transpose(1, 2, 0) for i in chosen])


def segments(
    folder: Path, real: Real, windows: Sequence[pd.DataFrame], most: Most, moves: Sequence[float] = ()
) -> tuple[Sheet, ...]:
    """Read the segments of a state, each with the window that it came from (the difficulty table before it).

    Args:
        folder: of the state.
        real: training images.
        windows: difficulty tables, one per segment at least.
        most: how much of each is shown.
        moves: how far the pixels of each went, as far as that is known.
    """
    files = segment_files(folder)
    require(len(files) <= len(windows), f"{folder}: must hold a segment per window", len(files))
    known = [None if isnan(levels) else levels for levels in moves]
    return tuple(
        replace(_sheet(read_parquet(file, SET_COLUMNS), real, window, most), moved=levels)
        for file, window, levels in zip(files, windows, chain(known, repeat(None)), strict=False)
    )


def whole(folder: Path, real: Real, most: Most) -> Sheet:
    """Read the segments of a state as one set."""
    parts = [read_parquet(file, SET_COLUMNS) for file in segment_files(folder)]
    return _sheet(pd.concat(parts, ignore_index=True), real, None, most)


def _sheet(rows: pd.DataFrame, real: Real, window: pd.DataFrame | None, most: Most) -> Sheet:
    labels, images = rows["label"].to_numpy(), rows["image"].to_numpy()
    shown = []
    for label in evenly(len(real.class_names), most.classes):
        stored = images[labels == label]
        synthetic = strip([decode(stored[i]["bytes"]) for i in evenly(len(stored), most.images)])
        beside = None if window is None else real.across(int(label), window, most.images)
        shown.append((real.class_names[label], synthetic, beside))
    first = rows.iloc[0]
    return Sheet(
        index=int(first["segment"]),
        ipc=len(rows) // rows["label"].nunique(),
        factor=int(first["factor"]),
        lower=float(first["window_lower"]),
        upper=float(first["window_upper"]),
        rows=tuple(shown),
    )


def decode(data: bytes) -> Pixels:
    """Return a stored image as an array (h w c), grey or RGB."""
    with Image.open(io.BytesIO(data)) as opened:
        pixels = np.array(opened if opened.mode in ("L", "RGB") else opened.convert("RGB"))
    return pixels[:, :, None] if pixels.ndim == 2 else pixels
