"""What the sets hold of the real data, for the report: coverage, diversity and difficulty, and who is right where."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dasm.errors import require
from pipeline import layout
from pipeline.reporting import drawing, figures
from pipeline.reporting.artefacts import read_parquet
from pipeline.reporting.scope import Scope

#: As in `dasm.diagnosis`, which would cost the report an import of torch.
PARTS = ("easy", "middle", "hard")

_STRATA = "How hard the real images nearest to each segment are, over the images of each arm's set"
_SETS = ("arm", "prefix_ipc", "images", *PARTS, "diversity")
_SEGMENTS = ("arm", "prefix_ipc", "segment", "images", "difficulty", "similarity", "overlap")


def diagnosis(root: Path, scope: Scope, *, drawn: bool) -> dict[str, Any]:
    """Return what every arm holds at the largest size benchmarked, and what the benchmark's first network makes of it.

    Args:
        root: folder that holds `data`.
        scope: whose arms.
        drawn: whether the figure is wanted.
    """
    folder = root / layout.DIAGNOSIS
    sets, segments = read_parquet(folder / "sets.parquet", _SETS), read_parquet(folder / "segments.parquet", _SEGMENTS)
    largest = int(sets["prefix_ipc"].max())
    sets, segments = (rows[rows["prefix_ipc"] == largest] for rows in (sets, segments))
    rank = read_parquet(folder / "test.parquet", ["rank"])["rank"].to_numpy()
    part = (rank * len(PARTS)).astype(int)
    holdings: dict[str, dict[str, Any]] = {str(row["arm"]): {**row} for row in sets.to_dict("records")}  # type: ignore[dict-item]
    require({*scope.arms} <= {*holdings}, f"{folder}: must hold {', '.join(scope.arms)}", sorted(holdings))
    for arm, rows in segments.groupby("arm"):
        later = rows[rows["segment"] > 0]
        holdings[str(arm)] |= {"similarity": _mean(rows, "similarity"), "overlap": _mean(later, "overlap")}
    for arm in scope.arms:
        path = root / layout.results(arm, scope.states[-1])
        holdings[arm]["right"] = _right(path, scope.networks[0], part)
    strata = {arm: segments[segments["arm"] == arm].sort_values("segment") for arm in scope.arms}
    return {
        "parts": PARTS,
        "holdings": {arm: holdings[arm] for arm in scope.arms},
        "full_right": _right(root / layout.FULL, scope.networks[0], part),
        "strata": drawing.svg(figures.strata(strata, largest), _STRATA) if drawn else "",
    }


def _mean(rows: pd.DataFrame, column: str) -> float:
    # Over pairs of images: a segment counts by its size.
    known = rows[rows[column].notna()]
    return float(np.average(known[column], weights=known["images"])) if len(known) else float("nan")


def _right(path: Path, network: str, part: np.ndarray) -> list[float]:
    """Return the percentage of the test images of each part that the networks of an architecture classify correctly."""
    rows = read_parquet(path, ["network", "test_right"])
    right = np.stack([*rows[rows["network"] == network]["test_right"]])
    require(right.shape[1] == len(part), f"{path}: must say of {len(part)} test images who is right", right.shape[1])
    return [100 * float(right[:, part == number].mean()) for number in range(len(PARTS))]
