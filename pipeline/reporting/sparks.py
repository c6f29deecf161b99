"""Drawings as small as a word, as the path of an inline SVG: where a window lies, how a distance falls."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_BINS = 20
_POINTS = 40


def window(state: pd.DataFrame) -> str:
    """Return the weights of a difficulty table over the rank of the images, easy to hard: 20 bars in 100 x 10."""
    bins = (state["rank"].to_numpy(float) * _BINS).astype(int).clip(0, _BINS - 1)
    weights = np.bincount(bins, state["weight"].to_numpy(float), _BINS) / np.bincount(bins, minlength=_BINS).clip(1)
    heights = 10 * weights / (weights.max() or 1)
    width = 100 // _BINS
    return "M0 10" + "".join(f"V{_short(10 - h)}h{width}" for h in heights) + "V10Z"


def curves(values: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """Return each curve in at most 40 means, all on one scale: iterations over 100, lowest to highest over 30."""
    means = {name: chunked(curve, _POINTS) for name, curve in values.items()}
    low, high = min(y.min() for _, y in means.values()), max(y.max() for _, y in means.values())
    longest = max(map(len, values.values()))
    return {
        name: "M" + " ".join(
            f"{_short(100 * at / longest)} {_short(30 * (high - value) / ((high - low) or 1))}"
            for at, value in zip(x, y, strict=True)
        )
        for name, (x, y) in means.items()
    }  # fmt: skip


def chunked(curve: Sequence[float], points: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a curve in at most so many means, and where each of them ends."""
    chunks = np.array_split(np.asarray(curve, float), min(len(curve), points))
    return np.cumsum([float(len(chunk)) for chunk in chunks]), np.array([chunk.mean() for chunk in chunks])


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
