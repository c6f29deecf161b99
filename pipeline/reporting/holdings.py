"""What every set holds of the real data, and whom networks that learnt it get right: a row per arm and size."""

from pathlib import Path

import numpy as np
import pandas as pd

from dasm.errors import require
from pipeline import layout
from pipeline.reporting.artefacts import read_parquet
from pipeline.reporting.scope import Scope

#: As in `dasm.diagnosis`, which would cost the report an import of torch.
PARTS = ("easy", "middle", "hard")

COVERAGE, RIGHT = (tuple(f"{what}_{part}" for part in PARTS) for what in ("coverage", "right"))

#: What is measured, and with how many digits it is worth printing.
MEASURES = {
    **dict.fromkeys(COVERAGE, 1),
    "diversity": 1,
    "nearest": 2,
    "similarity": 2,
    "overlap": 2,
    "moved": 1,
    **dict.fromkeys(RIGHT, 1),
}

_SETS = ("arm", "prefix_ipc", "images", *PARTS, "diversity")
_SEGMENTS = ("arm", "prefix_ipc", "segment", "images", "difficulty", "similarity", "overlap", "moved")


def holdings(root: Path, scope: Scope) -> pd.DataFrame:
    """Return what every arm holds at every size benchmarked, in the order of the arms.

    Columns are `arm`, `prefix_ipc`, `images` (per class, as trained on) and `MEASURES`: coverage of the thirds of the
    real images by difficulty, in %; effective number of different images; mean rank in [0, 1) of the real images that
    are nearest; similarity inside segments, and overlap of later ones with those before, both cosines and not a number
    where there are no two; root mean square distance of the pixels from where they started, in levels of 255, not a
    number where that is not known; accuracy of the benchmark's first network on the thirds of the test images, in %.

    Raises:
        ConfigError: the diagnosis does not know a set that was benchmarked, or is of other test images.
    """
    folder = root / layout.DIAGNOSIS
    sets, segments = read_parquet(folder / "sets.parquet", _SETS), read_segments(root)
    rank = read_parquet(folder / "test.parquet", ["rank"])["rank"].to_numpy()
    found = []
    for arm in scope.arms:
        for state in scope.states:
            path = root / layout.results(arm, state)
            prefix = int(read_parquet(path, ["prefix_ipc"])["prefix_ipc"].iloc[0])
            known, parts = (rows[(rows["arm"] == arm) & (rows["prefix_ipc"] == prefix)] for rows in (sets, segments))
            rule = f"{folder}: must hold {arm} at {prefix} images per class once"
            require(len(known) == 1, rule, len(known))
            own = known.iloc[0]
            later = parts[parts["segment"] > 0]
            found.append(
                {
                    "arm": arm,
                    "prefix_ipc": prefix,
                    "images": int(own["images"]),
                    **{column: 100 * own[part] for column, part in zip(COVERAGE, PARTS, strict=True)},
                    "diversity": own["diversity"],
                    "nearest": _mean(parts, "difficulty"),
                    "similarity": _mean(parts, "similarity"),
                    "overlap": _mean(later, "overlap"),
                    "moved": float(np.sqrt(_mean(parts.assign(moved=parts["moved"] ** 2), "moved"))),
                    **dict(zip(RIGHT, right(path, scope.networks[0], rank), strict=True)),
                }
            )
    return pd.DataFrame(found)


def read_segments(root: Path) -> pd.DataFrame:
    """Read what the diagnosis says of the segments of every set."""
    return read_parquet(root / layout.DIAGNOSIS / "segments.parquet", _SEGMENTS)


def moves(segments: pd.DataFrame, arm: str) -> list[float]:
    """Return how far the pixels of each segment of an arm's largest set went; `segments` is from `read_segments`."""
    mine = segments[segments["arm"] == arm]
    largest = mine[mine["prefix_ipc"] == mine["prefix_ipc"].max()].sort_values("segment")
    return [float(levels) for levels in largest["moved"]]


def right(path: Path, network: str, rank: np.ndarray) -> list[float]:
    """Return the percentage of the test images of each part that the networks of an architecture classify correctly.

    Args:
        path: results of a set, or of all real images.
        network: the architecture's name.
        rank: within-class rank fractions of the test images, 0 the easiest.

    Raises:
        ConfigError: the results are of other test images.
    """
    rows = read_parquet(path, ["network", "test_right"])
    found = np.stack([*rows[rows["network"] == network]["test_right"]])
    require(found.shape[1] == len(rank), f"{path}: must say of {len(rank)} test images who is right", found.shape[1])
    part = (rank * len(PARTS)).astype(int)
    return [100 * float(found[:, part == number].mean()) for number in range(len(PARTS))]


def _mean(rows: pd.DataFrame, column: str) -> float:
    # Over images: a segment counts by its size.
    known = rows[rows[column].notna()]
    return float(np.average(known[column], weights=known["images"])) if len(known) else float("nan")
