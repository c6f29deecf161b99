"""The arms of a study ranked at its largest size, each against random real images and against the reference."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from dasm.errors import require
from pipeline.reporting.roster import Entry
from pipeline.reporting.scope import Scope

RANDOM = "random"

Accuracies = dict[str, NDArray[np.float64]]


@final
@dataclass(frozen=True, kw_only=True)
class Difference:
    """One arm minus another, paired over seeds.

    Attributes:
        mean: in points.
        lower: of the 95 % t-interval; not a number for one seed.
        upper: likewise.
        n: seeds.
        same: whether the arms agree in every training and on either split, as they do where they hold the same set.
    """

    mean: float
    lower: float
    upper: float
    n: int
    same: bool = False

    @classmethod
    def of(cls, row: "pd.Series[Any]") -> "Difference":
        """Take a difference back from a row of a table."""
        mean, lower, upper = (float(row[name]) for name in ("mean", "lower", "upper"))
        return cls(mean=mean, lower=lower, upper=upper, n=int(row["n"]), same=bool(row["same"]))

    @property
    def sign(self) -> Literal[-1, 0, 1]:
        """On which side of zero the interval lies; 0 where it includes zero, or where there is none worth the name."""
        # Accuracies are counts: two seeds differ alike by chance, and an interval of no width would look certain.
        if self.n == 2 and math.isclose(self.lower, self.upper, abs_tol=1e-9):
            return 0
        return 1 if self.lower > 0 else -1 if self.upper < 0 else 0


@final
@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an arm stands among all arms, for one network.

    Attributes:
        arm: its name.
        rank: by mean test accuracy, from 1; equal means share a rank.
        mean: test accuracy in percent.
        std: sample standard deviation over seeds.
        n: seeds.
        validation: mean validation accuracy.
        random: the arm minus random real images by split, `validation` and `test`; empty without such a coreset, and
            for that coreset itself.
        reference: the reference minus the arm by split; empty for the reference itself.
    """

    arm: str
    rank: int
    mean: float
    std: float
    n: int
    validation: float
    random: Mapping[str, Difference]
    reference: Mapping[str, Difference]


def difference(ours: NDArray[np.float64], theirs: NDArray[np.float64], *, same: bool = False) -> Difference:
    """Return the mean of `ours - theirs` and its 95 % t-interval; equal places are one pair."""
    gaps = ours - theirs
    mean, half = float(gaps.mean()), half_width(gaps)
    return Difference(mean=mean, lower=mean - half, upper=mean + half, n=len(gaps), same=same)


def half_width(values: NDArray[np.float64]) -> float:
    """Return half the width of the 95 % t-interval of a mean; not a number for one value."""
    # Quantile of Student's t; scipy.stats gives the same and takes seconds to import.
    n = len(values)
    return float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan


def differences(ours: Accuracies, theirs: Accuracies) -> dict[str, Difference]:
    """Return the differences of two arms, whose accuracies are given by split."""
    # One training may agree by chance, and all of them where every one answers all or next to nothing.
    varied = any(len({*rows.tolist()}) > 1 for rows in ours.values())
    same = varied and all(np.array_equal(rows, theirs[split]) for split, rows in ours.items())
    return {split: difference(rows, theirs[split], same=same) for split, rows in ours.items()}


def by_arm(results: pd.DataFrame, network: str, prefix_ipc: int, split: str) -> Accuracies:
    """Return the accuracies of every arm for one network and size, in order of seed.

    Raises:
        ConfigError: the arms do not have the same seeds.
    """
    here = results[(results["network"] == network) & (results["prefix_ipc"] == prefix_ipc)]
    wide = here.pivot(index="seed", columns="arm", values=split)
    rule = f"data/results: {network} at IPC {prefix_ipc} must have the same seeds in every arm"
    require(bool(wide.notna().all(axis=None)), rule, [*wide.index])
    return {str(arm): column.to_numpy(float) for arm, column in wide.items()}


def ranking(results: pd.DataFrame, scope: Scope, network: str) -> tuple[Place, ...]:
    """Rank every arm at the largest size benchmarked, best first."""
    largest = int(results["prefix_ipc"].max())
    splits = {split: by_arm(results, network, largest, split) for split in ("validation", "test")}
    # Equal accuracies in another order must tie.
    means = {arm: round(float(splits["test"][arm].mean()), 9) for arm in scope.arms}

    def minus(arm: str, other: str) -> dict[str, Difference]:
        known = {arm, other} <= {*scope.arms} and arm != other
        one, two = ({split: rows[name] for split, rows in splits.items() if known} for name in (arm, other))
        return differences(one, two)

    places = [
        Place(
            arm=arm,
            rank=1 + sum(mean > means[arm] for mean in means.values()),
            mean=means[arm],
            std=float(splits["test"][arm].std(ddof=1)) if len(splits["test"][arm]) > 1 else math.nan,
            n=len(splits["test"][arm]),
            validation=float(splits["validation"][arm].mean()),
            random=minus(arm, RANDOM if RANDOM in scope.coresets else ""),
            reference=minus(scope.reference, arm),
        )
        for arm in scope.arms
    ]
    return tuple(sorted(places, key=lambda place: place.rank))


def by_group(
    places: Sequence[Place], groups: Mapping[str, Sequence[Entry]]
) -> dict[str, tuple[tuple[Place, Entry], ...]]:
    """Return the arms of every group with their places, in order of rank."""
    entries = {group: {entry.arm: entry for entry in members} for group, members in groups.items()}
    return {
        group: tuple((place, members[place.arm]) for place in places if place.arm in members)
        for group, members in entries.items()
    }


def judged(places: Sequence[Place], groups: Mapping[str, Sequence[Entry]]) -> tuple[Place, ...]:
    """Return the places of the arms that are told from random images in words, best first.

    In a study of several objectives those that compare them, inside DASM (the reference among them) and joint; else all
    arms that are distilled.
    """
    wanted = ("reference", "objective", "joint") if "objective" in groups else {*groups} - {"coreset"}
    named = {entry.arm for group in wanted for entry in groups.get(group, ())}
    return tuple(place for place in places if place.arm in named)
