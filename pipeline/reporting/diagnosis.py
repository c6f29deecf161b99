"""What the sets hold of the real data, as a section of the page."""

from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import layout
from pipeline.reporting import drawing, figures
from pipeline.reporting.artefacts import read_parquet
from pipeline.reporting.holdings import COVERAGE, PARTS, RIGHT, read_segments, right
from pipeline.reporting.scope import Scope

_STRATA = "How hard the real images nearest to each segment are, over the images of each arm's set"


def diagnosis(root: Path, scope: Scope, held: pd.DataFrame, *, drawn: bool) -> dict[str, Any]:
    """Return what every arm holds at the largest size benchmarked, and what the benchmark's first network makes of it.

    Args:
        root: folder that holds `data`.
        scope: whose arms.
        held: what `holdings` returns.
        drawn: whether the figure is wanted.
    """
    largest = int(held["prefix_ipc"].max())
    segments = read_segments(root)
    segments = segments[segments["prefix_ipc"] == largest]
    strata = {arm: segments[segments["arm"] == arm].sort_values("segment") for arm in scope.arms}
    rank = read_parquet(root / layout.DIAGNOSIS / "test.parquet", ["rank"])["rank"].to_numpy()
    return {
        "parts": PARTS,
        "coverage": COVERAGE,
        "right": RIGHT,
        "holdings": held[held["prefix_ipc"] == largest].set_index("arm").to_dict("index"),
        "full_right": right(root / layout.FULL, scope.networks[0], rank),
        "strata": drawing.svg(figures.strata(strata, largest), _STRATA) if drawn else "",
    }
