"""The stored images of one set as a picture, for a README or a paper: a panel per segment, a row per class."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pipeline.reporting.artefacts import read_parquet, segment_files
from pipeline.reporting.drawing import MUTED, STYLE
from pipeline.reporting.gallery import SET_COLUMNS, Most, decode
from pipeline.reporting.strips import Pixels, evenly, shrunk

_TILE = 0.32  # inches of an image


def contact_sheet(folder: Path, class_names: Sequence[str], most: Most) -> Figure:
    """Draw the segments of a state side by side: of at most so many classes at most so many images each, evenly chosen.

    Args:
        folder: of the state; holds a segment at least.
        class_names: of the data set.
        most: how many.
    """
    parts = [read_parquet(file, SET_COLUMNS) for file in segment_files(folder)]
    shown = evenly(len(class_names), most.classes)
    grids = [tiled([_of(part, int(label), most.images) for label in shown]) for part in parts]
    side = (grids[0].shape[0] + 1) // len(shown)
    gap = np.full((grids[0].shape[0], max(side, 2), grids[0].shape[2]), 255, np.uint8)
    starts = np.cumsum([0, *(grid.shape[1] + gap.shape[1] for grid in grids[:-1])])
    pixels = np.concatenate([part for grid in grids for part in (grid, gap)][:-1], axis=1)
    with mpl.rc_context(STYLE), mpl.rc_context({"axes.grid": False}):
        figure = Figure(figsize=(pixels.shape[1] / side * _TILE + 0.6, len(shown) * _TILE + 0.5))
        ax = figure.add_subplot()
        ax.imshow(pixels, interpolation="nearest", cmap="gray", vmin=0, vmax=255)
        ax.spines[:].set_visible(False)
        ax.set_xticks([])
        ax.set_yticks([(row + 0.5) * side - 1 for row in range(len(shown))], [class_names[label] for label in shown])
        for number, (start, part) in enumerate(zip(starts, parts, strict=True)):
            lower, upper = part["window_lower"].iloc[0], part["window_upper"].iloc[0]
            ax.text(start, -0.15 * side, f"segment {number}", va="bottom")
            below = pixels.shape[0] + 0.1 * side
            ax.text(start, below, f"ranks {lower:.2f} to {upper:.2f}", va="top", fontsize=7, color=MUTED)
        return figure


def tiled(rows: Sequence[Sequence[Pixels]]) -> Pixels:
    """Put rows of images (h w c), as many in each and all of one size, under each other, a white pixel between them."""
    height, width, channels = rows[0][0].shape
    canvas = np.full((len(rows) * (height + 1) - 1, len(rows[0]) * (width + 1) - 1, channels), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            canvas[i * (height + 1) : i * (height + 1) + height, j * (width + 1) : j * (width + 1) + width] = image
    return canvas


def _of(segment: pd.DataFrame, label: int, most: int) -> list[Pixels]:
    stored = segment["image"].to_numpy()[segment["label"].to_numpy() == label]
    return [shrunk(decode(stored[i]["bytes"])) for i in evenly(len(stored), most)]
