"""What sets hold over several root seeds: means, and differences paired over the root seeds."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.reporting import rows
from pipeline.reporting.holdings import MEASURES
from pipeline.reporting.ranking import Difference, difference

_KEYS = ["arm", "prefix_ipc"]
_TYPES: dict[str, type] = {"arm": str, "prefix_ipc": int}
# Reports of some time ago do not say it.
_LATER = ("moved",)


def beside(table: Path) -> Path:
    """Return where the holdings of the study lie of which this is the table: `holdings` instead of `table`."""
    return table.with_name(table.name.replace("table", "holdings", 1))


def read(paths: Sequence[Path]) -> pd.DataFrame:
    """Read the holdings of several root seeds as rows (arm, prefix_ipc, measure, value, root) of what all of them know.

    Raises:
        ConfigError: one is not what a report writes.
    """
    parts = []
    for root, path in enumerate(paths):
        known = {measure: float for measure in MEASURES if measure not in _LATER}
        part = rows.read(path, "holdings.csv", _KEYS, {**_TYPES, **known})
        part = part.reindex(columns=part.columns.union([*_LATER], sort=False))
        parts.append(part.melt(_KEYS, [*MEASURES], "measure").assign(root=root).dropna(subset="value"))
    whole = pd.concat(parts)
    common = whole.groupby([*_KEYS, "measure"])["root"].transform("nunique") == len(paths)
    return whole[common]


def summarise(values: pd.DataFrame) -> pd.DataFrame:
    """Return mean and sample std over the root seeds, a row per size, measure and arm."""
    keys = ["prefix_ipc", "measure", "arm"]
    found = values.groupby(keys, sort=False)["value"].agg(n="size", mean="mean", std="std")
    return found.reset_index()


def differences(values: pd.DataFrame) -> pd.DataFrame:
    """Return every arm minus every later one, paired over the root seeds, with 95 % t-intervals, by measure."""
    found = list[list[Any]]()
    for (prefix, measure), here in values.groupby(["prefix_ipc", "measure"], sort=False):
        wide = here.pivot(index="root", columns="arm", values="value")
        for arm, minus in combinations(here["arm"].unique(), 2):
            gap = _difference(wide[arm], wide[minus])
            found.append([prefix, measure, arm, minus, gap.mean, gap.lower, gap.upper, gap.n])
    return pd.DataFrame(found, columns=["prefix_ipc", "measure", "arm", "minus", "mean", "lower", "upper", "n"])


def section(values: pd.DataFrame, arms: Sequence[str]) -> dict[str, Any]:
    """Return what a template needs for the largest size: a mean by arm and measure, and whether the first arm differs.

    Args:
        values: what `read` returns.
        arms: in the order of the page; those that are not measured are left out.
    """
    largest = int(values["prefix_ipc"].max())
    here = values[values["prefix_ipc"] == largest]
    wide = here.pivot(index="root", columns=["measure", "arm"], values="value")
    known = [arm for arm in arms if (here["arm"] == arm).any()]
    first = known[0]
    return {
        "prefix": largest,
        "measures": {measure: digits for measure, digits in MEASURES.items() if (here["measure"] == measure).any()},
        "arms": known,
        "cells": {
            (measure, arm): (float(wide[measure, arm].mean()), _sure(wide, measure, first, arm))
            for measure in MEASURES
            for arm in known
            if (measure, arm) in wide.columns
        },
    }


def _sure(wide: pd.DataFrame, measure: str, first: str, arm: str) -> bool:
    both = arm != first and (measure, first) in wide.columns
    return both and _difference(wide[measure, first], wide[measure, arm]).sign != 0


def _difference(ours: pd.Series, theirs: pd.Series) -> Difference:
    return difference(np.asarray(ours, float), np.asarray(theirs, float))
