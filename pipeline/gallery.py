"""Rows of images for the report: what was distilled, beside the real images of the window it was distilled against."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from dasm.errors import ConfigError, require
from pipeline import layout
from pipeline.artefacts import read_parquet

_MOST_CLASSES = 10
_MOST_IMAGES = 8
_COLUMNS = ("image", "label", "segment", "factor", "window_lower", "window_upper")

Pixels = NDArray[np.uint8]


@final
@dataclass(frozen=True, kw_only=True)
class Strip:
    """Images of one class in a row, as the address of an inline PNG, with the number of images and of pixels."""

    uri: str
    count: int
    width: int
    height: int


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
        rows: class name, synthetic images, real images of the window (None without a window); a few, evenly chosen.
    """

    index: int
    ipc: int
    factor: int
    lower: float
    upper: float
    rows: tuple[tuple[str, Strip, Strip | None], ...]


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

    def across(self, label: int, difficulty: pd.DataFrame) -> Strip:
        """Return images of one class, even over the ranks of the window."""
        inside = difficulty[(difficulty["label"] == label) & (difficulty["weight"] > 0)]
        ranked = inside.sort_values("rank", kind="stable")["index"].to_numpy()
        chosen = ranked[_evenly(len(ranked), _MOST_IMAGES)]
        return strip([self.images[i].transpose(1, 2, 0) for i in chosen])


def segments(folder: Path, real: Real, windows: Sequence[pd.DataFrame]) -> tuple[Sheet, ...]:
    """Read the segments of a state, each with the window that it came from (the difficulty table before it)."""
    files = _files(folder)
    require(len(files) <= len(windows), f"{folder}: must hold a segment per window", len(files))
    return tuple(
        _sheet(read_parquet(file, _COLUMNS), real, window) for file, window in zip(files, windows, strict=False)
    )


def whole(folder: Path, real: Real) -> Sheet:
    """Read the segments of a state as one set."""
    parts = [read_parquet(file, _COLUMNS) for file in _files(folder)]
    return _sheet(pd.concat(parts, ignore_index=True), real, None)


def strip(images: Sequence[Pixels]) -> Strip:
    """Put images (h w c) side by side, a transparent pixel between them."""
    if not images:
        return Strip(uri="", count=0, width=0, height=0)
    height, width = images[0].shape[:2]
    canvas = Image.new("RGBA", (len(images) * (width + 1) - 1, height))
    for i, image in enumerate(images):
        canvas.paste(Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image), (i * (width + 1), 0))
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG", optimize=True)
    uri = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Strip(uri=uri, count=len(images), width=canvas.width, height=height)


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("s*.parquet"), key=lambda file: int(file.stem.removeprefix("s")))
    require(bool(files), f"{folder}: must hold s0.parquet and its successors", "none")
    return files


def _sheet(rows: pd.DataFrame, real: Real, window: pd.DataFrame | None) -> Sheet:
    labels = np.arange(len(real.class_names))
    shown = []
    for label in labels[_evenly(len(labels), _MOST_CLASSES)]:
        stored = rows[rows["label"] == label]["image"].tolist()
        synthetic = strip([_decode(stored[i]["bytes"]) for i in _evenly(len(stored), _MOST_IMAGES)])
        shown.append((real.class_names[label], synthetic, None if window is None else real.across(int(label), window)))
    first = rows.iloc[0]
    return Sheet(
        index=int(first["segment"]),
        ipc=len(rows) // rows["label"].nunique(),
        factor=int(first["factor"]),
        lower=float(first["window_lower"]),
        upper=float(first["window_upper"]),
        rows=tuple(shown),
    )


def _decode(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as opened:
        pixels = np.array(opened if opened.mode in ("L", "RGB") else opened.convert("RGB"))
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def _evenly(n: int, most: int) -> NDArray[np.int64]:
    # The first and the last always among them.
    return np.linspace(0, n - 1, min(n, most)).round().astype(np.int64) if n else np.zeros(0, np.int64)
