"""What the templates of the report are filled with, section by section."""

from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import layout, methods
from pipeline.names import FULL
from pipeline.reporting import drawing, figures, gallery, sparks, summary
from pipeline.reporting.artefacts import read_ledger, read_storage
from pipeline.reporting.holdings import moves, read_segments
from pipeline.reporting.ranking import RANDOM, Difference, by_group, judged, ranking
from pipeline.reporting.roster import GROUPS, homes, roster
from pipeline.reporting.scope import Scope
from pipeline.reporting.terms import terms

# More arms than this are ranked; so many lines in one figure would not be told apart either.
_MANY = 8
# Of more scored arms than this, all but the reference are folded or drawn small.
_MANY_SCORED = 6
# Classes of which the largest is more than so many times the smallest are worth a word.
_UNEVEN = 2
_FOLDED = gallery.Most(classes=5, images=4)

States = Mapping[str, list[pd.DataFrame]]


def numbers(params: Mapping[str, Any], scope: Scope, table: pd.DataFrame, paired: pd.DataFrame) -> dict[str, Any]:
    """Return the finding, Table 1 and the paired differences."""
    prefixes = sorted({*table["prefix_ipc"]} - {0})
    at_largest = table[(table["network"] == scope.networks[0]) & (table["prefix_ipc"] == prefixes[-1])]
    tested = paired[(paired["split"] == "test") & (paired["arm"] == scope.reference)]
    headline = tested[(tested["network"] == scope.networks[0]) & (tested["prefix_ipc"] == prefixes[-1])]
    rival = headline[headline["minus"] == _rival(params, scope)]
    reach = tested.set_index(["network", "minus"])[["lower", "mean", "upper"]].abs().max(axis=1)
    many = len(scope.arms) > _MANY
    return {
        "scope": scope,
        "full_arm": FULL,
        "random_arm": RANDOM if RANDOM in scope.coresets else "",
        "many": many,
        "lines": len(prefixes) > 1 and not many,
        "number": {kind: count(1).__next__ for kind in ("table", "figure")},
        "prefixes": prefixes,
        "seeds": int(table["n"].max()),
        "terms": terms(params),
        "cells": {(row.network, row.arm, row.prefix_ipc): row for row in table.itertuples()},
        # By validation: the first sentence of a page must not choose by test images.
        "winners": at_largest[at_largest["validation_mean"] == at_largest["validation_mean"].max()].to_dict("records"),
        "headline": [(row["minus"], Difference.of(row)) for _, row in rival.iterrows()],
        "paired": {
            (row["network"], row["minus"], row["prefix_ipc"]): Difference.of(row) for _, row in tested.iterrows()
        },
        "shared_sets": bool(tested["same"].any()),
        "reach": reach.groupby(level=[0, 1]).max().to_dict(),
    }


def _rival(params: Mapping[str, Any], scope: Scope) -> str:
    """Name the arm to beat: the same objective joint, else another joint one, else whoever comes next."""
    ours = methods.block(params, scope.reference, "matching")
    joint = [arm for arm in scope.joint if arm != scope.reference]
    same = [arm for arm in joint if methods.block(params, arm, "matching") == ours]
    return next(iter((*same, *joint, *scope.arms[1:])), "")


def standings(params: Mapping[str, Any], scope: Scope, results: pd.DataFrame) -> dict[str, Any]:
    """Return the ranking at the largest size."""
    groups = roster(params, scope)
    ranked = {network: ranking(results, scope, network) for network in scope.networks}
    return {
        "group_names": GROUPS,
        "groups": groups,
        "homes": homes(groups),
        "ranked": ranked,
        "members": {network: by_group(places, groups) for network, places in ranked.items()},
        "shared_ranked": any(
            gap.same for places in ranked.values() for place in places for gap in place.reference.values()
        ),
        "judged": {network: judged(places, groups) for network, places in ranked.items()},
    }


def pictures(root: Path, scope: Scope, states: States) -> dict[str, Any]:
    """Return the galleries."""
    real, last = gallery.Real.read(root), scope.segments
    fold = len(states) > _MANY_SCORED
    usual, diagnosed = gallery.Most(), read_segments(root)
    return {
        "segments": {
            arm: gallery.segments(
                root / layout.distilled(arm, last),
                real,
                tables * last if arm in scope.once else tables,
                _FOLDED if fold and arm != scope.reference else usual,
                moves(diagnosed, arm),
            )
            for arm, tables in states.items()
        },
        "wholes": {
            arm: gallery.whole(root / layout.distilled(arm, last), real, _FOLDED if fold else usual)
            for arm in (*scope.controls, *scope.coresets)
        },
        "fold": fold,
        "num_classes": len(real.class_names),
        "class_width": max(map(len, real.class_names)),
        "num_images": len(real.labels),
        "side": real.images.shape[-1],
    }


def drawn(scope: Scope, states: States) -> States:
    """Return the difficulty tables that are drawn large: all of a few arms, of many those of the reference."""
    return states if len(states) <= _MANY_SCORED else {scope.reference: states[scope.reference]}


def difficulty(scope: Scope, states: States) -> dict[str, Any]:
    """Return how difficulty moves: a figure and a table of each arm drawn large, of all others a row."""
    large, segments = drawn(scope, states), scope.segments
    real = states[scope.reference][0]
    wrong = 100 * float(real["wrong"].mean()) if "wrong" in real else None
    return {
        "wrong": wrong,
        "odd": _odd(real["label"].value_counts(), wrong),
        "difficulty": {
            arm: drawing.svg(
                figures.difficulty({arm: tables}, segments),
                f"Difficulty of the real images at every state of {arm}; the numbers are in the table beside",
            )
            for arm, tables in large.items()
        },
        "moves": {arm: summary.difficulty(tables, segments).to_dict("records") for arm, tables in large.items()},
        "profiles": {
            arm: [
                (100 * float(table["right"].mean()), sparks.window(table) if n < segments else "", summary.wrong(table))
                for n, table in enumerate(tables)
            ]
            for arm, tables in states.items()
            if len(large) < len(states)
        },
    }


def _odd(sizes: pd.Series, wrong: float | None) -> str:
    """Say what is unusual about the real images (uneven classes, wrong labels).

    So that their accuracy is not read as the ceiling.
    """
    said = [f"{sizes.min()} to {sizes.max()} per class"] if sizes.max() > _UNEVEN * sizes.min() else []
    said += [f"{wrong:.1f} % labelled wrongly on purpose"] if wrong is not None else []
    return f" ({', '.join(said)})" if said else ""


def costs(root: Path, params: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """Return what every arm and stage cost, the objective over the iterations, and what soft labels add."""
    ledger = read_ledger(root, params, scope)
    curves: dict[str, dict[str, list[float]]] = {}
    shade: dict[tuple[str, str], int] = {}
    for arm, k, values in zip(ledger["arm"], ledger["number"], ledger["distances"], strict=True):
        if values:
            place = scope.segments - 1 if arm in scope.once else k
            name = f"prefix {place + 1}" if arm in scope.joint else f"segment {place}"
            curves.setdefault(arm, {})[name], shade[arm, name] = values, place
    ordered = {arm: curves[arm] for arm in scope.arms if arm in curves}
    small = len(ordered) > _MANY
    large = {} if small else {arm: figures.distances(arm, lines) for arm, lines in ordered.items()}
    return {
        "by_arm": summary.cost(ledger, ["arm"]).to_dict("records"),
        "by_stage": summary.cost(ledger, ["arm", "stage"]).to_dict("records"),
        "total": summary.cost(ledger.assign(all=""), ["all"]).iloc[0].to_dict(),
        "shared": summary.shared(ledger),
        "distances": {
            arm: drawing.svg(figure, f"The objective over the iterations of each segment of {arm}")
            for arm, figure in large.items()
        },
        "curves": {arm: sparks.curves(lines) for arm, lines in ordered.items()} if small else {},
        "shade": shade,
        "shades": sorted({*shade.values()}),
        "storage": {arm: read_storage(root / layout.distilled(arm, scope.segments)) for arm in scope.arms},
    }
