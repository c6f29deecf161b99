"""The numbers of the report: Table 1, paired differences, difficulty from state to state, cost."""

import math
from collections.abc import Collection, Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.names import FULL
from pipeline.reporting.ranking import RANDOM, by_arm, differences
from pipeline.reporting.scope import Scope

#: Columns of paired differences; `same` as in `pipeline.reporting.ranking.Difference`.
PAIRED = ["network", "prefix_ipc", "split", "arm", "minus", "mean", "lower", "upper", "n", "same"]


def table(results: pd.DataFrame, scope: Scope, soft: Collection[str] = ()) -> pd.DataFrame:
    """Return Table 1, long: mean, sample std and number of seeds of each network, arm and prefix (0 for the full set).

    `best` marks the highest mean of a network at a prefix, `only` also requires that no other arm holds the same set,
    `below_random` a mean under that of the random coreset.
    `ior`, `hlr` and `lrs` are what DD-Ranking (2025, arXiv 2505.13300) measures of a set, in points: what it is above
    the random coreset (not a number in a study without one), what it is below the full set, and both in one, from 0
    to 100. The full set has none of them. `hlr` and `lrs` are of hard labels: arms of `soft`, whose networks learnt
    others, have none; nor have they `ior` where random images were learnt by their classes. Where networks have been
    trained without augmentation as well, `unaugmented` is the mean of these, and `ars` the augmentation-robust score,
    from how far a set is above random images either way.
    """
    keys = ["network", "arm", "prefix_ipc"]
    order = {"network": scope.networks, "arm": (*scope.arms, FULL)}
    typed = results.assign(**{name: pd.Categorical(results[name], values) for name, values in order.items()})
    again = {"unaugmented": ("unaugmented", "mean")} if scope.unaugmented else {}
    rows = typed.groupby(keys, observed=True).agg(
        mean=("test", "mean"),
        std=("test", "std"),
        n=("test", "size"),
        validation_mean=("validation", "mean"),
        set=("set", "first"),
        **again,
    )
    # Equal accuracies in another order must tie.
    rows = rows.round(9).reset_index().astype({"network": str, "arm": str})
    peers = rows[rows["arm"] != FULL]
    highest = peers.groupby(["network", "prefix_ipc"])["mean"].transform("max")
    floor = _random(rows, "mean")
    full = rows[rows["arm"] == FULL].set_index("network")["mean"]
    softly = peers["arm"].isin(soft)
    ior = (peers["mean"] - floor[peers.index]).mask(softly & (RANDOM not in soft))
    hlr = (peers["network"].map(full) - peers["mean"]).mask(softly)
    best = (peers["mean"] == highest).reindex(rows.index, fill_value=False)
    shared = rows.duplicated(["network", "prefix_ipc", "set"], keep=False)
    found = rows.assign(
        best=best,
        only=best & ~shared,
        below_random=(rows["mean"] < floor) & (rows["arm"] != FULL),
        ior=ior,
        hlr=hlr,
        lrs=label_robust_score(ior, hlr),
    )
    if not scope.unaugmented:
        return found
    return found.assign(
        ars=augmentation_robust_score(ior, (rows["unaugmented"] - _random(rows, "unaugmented"))[peers.index])
    )


def _random(rows: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """Return what the random coreset has in a column, for every row of its network and size; else not a number."""
    chance = rows[rows["arm"] == RANDOM].set_index(["network", "prefix_ipc"])[column]
    return rows.set_index(["network", "prefix_ipc"]).index.map(chance.to_dict()).to_numpy(dtype=float)


def label_robust_score(ior: pd.Series, hlr: pd.Series) -> pd.Series:
    """Return DD-Ranking's label-robust score at equal weights, of points above random images and below all real data.

    It is 100 for 100 points above either, 0 for as many below, and 27 where a set is as good as both.
    """
    return _in_one((ior - hlr) / 200)


def augmentation_robust_score(ior: pd.Series, unaugmented: pd.Series) -> pd.Series:
    """Return DD-Ranking's augmentation-robust score at equal weights, of points above random images with it, without.

    It is 27 where a set is no better than random images.
    """
    return _in_one((ior + unaugmented) / 200)


def _in_one(gain: pd.Series) -> pd.Series:
    """Return from 0, for -1, to 100, for 1."""
    least, most = math.exp(-1), math.exp(1)
    return 100 * (gain.map(math.exp) - least) / (most - least)


def paired(results: pd.DataFrame, scope: Scope) -> pd.DataFrame:
    """Return paired differences at every network, size and split: mean, 95 % t-interval, number of pairs, and `same`.

    First the reference minus every other arm, then every other arm minus random images, where the study has them.
    """
    first, *others = scope.arms
    pairs = [(first, other) for other in others]
    pairs += [(arm, RANDOM) for arm in others if RANDOM in scope.coresets and arm != RANDOM]
    rows = []
    for network, prefix in product(scope.networks, sorted({*results["prefix_ipc"]} - {0})):
        rows += against(results, network, prefix, pairs, splits=("test", "validation"))
    return pd.DataFrame(rows, columns=PAIRED)


def against(
    results: pd.DataFrame, network: str, prefix_ipc: int, pairs: Sequence[tuple[str, str]], splits: Sequence[str]
) -> list[list[str | int | float]]:
    """Return rows of `PAIRED`: the differences of some pairs of arms at one network and size, split by split."""
    arms = {split: by_arm(results, network, prefix_ipc, split) for split in splits}
    gaps = {
        (arm, minus): differences(*({split: rows[name] for split, rows in arms.items()} for name in (arm, minus)))
        for arm, minus in pairs
    }
    return [
        [network, prefix_ipc, split, arm, minus, gap.mean, gap.lower, gap.upper, gap.n, gap.same]
        for split in arms
        for (arm, minus), gap in ((pair, found[split]) for pair, found in gaps.items())
    ]


def difficulty(states: Sequence[pd.DataFrame], segments: int) -> pd.DataFrame:
    """Describe the difficulty tables of an arm, a row per state.

    `right` is a percentage; `spearman` is the correlation of the ranks inside a class, equal scores at their middle,
    with those of the state before; `window` is the mean score inside the window of the segment that follows, which a
    state after the last segment has not; `wrong` is what `wrong` returns of that window.
    """
    rows = pd.DataFrame(
        {
            "median": [state["score"].median() for state in states],
            "mean": [state["score"].mean() for state in states],
            "window": [
                state["score"][state["weight"] > 0].mean() if n < segments else math.nan
                for n, state in enumerate(states)
            ],
            "right": [100 * state["right"].mean() for state in states],
            "wrong": [wrong(state) if n < segments else math.nan for n, state in enumerate(states)],
        }
    )
    return rows.assign(spearman=[math.nan, *(a.corr(b) for a, b in pairwise(map(_ranks, states)))])


def _ranks(state: pd.DataFrame) -> pd.Series:
    """Return rank fractions inside the classes, those of equal scores the same: windows let these go by position.

    Of scores that are all equal they are no numbers, as there is no order to compare.
    """
    within = state.groupby("label")["score"].rank(pct=True)
    return within if state["score"].nunique() > 1 else within * math.nan


def wrong(state: pd.DataFrame) -> float:
    """Return how much of a window's weight lies on images with a wrong label, in %; NaN where none was made wrong."""
    if "wrong" not in state:
        return math.nan
    return float(100 * (state["wrong"] * state["weight"]).sum() / state["weight"].sum())


def cost(ledger: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return the ledger summed over `by`, in order of first appearance; peak memory is the largest."""
    return ledger.groupby(list(by), sort=False, as_index=False).agg(
        stages=("name", "size"),
        seconds=("seconds", "sum"),
        forward_images=("forward_images", "sum"),
        backward_images=("backward_images", "sum"),
        flops=("flops", "sum"),
        peak_memory_mb=("peak_memory_mb", "max"),
        device=("device", lambda names: ", ".join(sorted(set(names)))),
    )


def shared(ledger: pd.DataFrame) -> dict[str, float]:
    """Return how many stages took over work that is in the ledger already, and how long it had taken; nothing if none.

    Work of an arm that is no more, or has changed since, is not: whoever has it first stands for it.
    """
    own = ledger["taken_from"] == ""
    taken = ledger[~own & (ledger["done"].isin(ledger["done"][own]) | ledger["done"].duplicated())]
    return {"stages": len(taken), "seconds": float(taken["seconds"].sum())} if len(taken) else {}


def metrics(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return the mean accuracies for DVC: network, arm, `ipc<prefix>` and split; the full set has no prefix.

    Validation stands beside test, because choices are made on it.
    """
    nested: dict[str, dict[str, Any]] = {}
    for row in table.to_dict("records"):
        network = nested.setdefault(row["network"], {})
        means = {"validation": round(row["validation_mean"], 2), "test": round(row["mean"], 2)}
        if row["arm"] == FULL:
            network[FULL] = means
        else:
            network.setdefault(row["arm"], {})[f"ipc{row['prefix_ipc']}"] = means
    return nested
