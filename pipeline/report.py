"""The report of a study: one page that needs nothing else, and the same numbers as CSV, Markdown, JSON and PNG.

Same inputs, same bytes: no date, host, path or commit is written. Only the ledger differs from run to run.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import figures, gallery, layout, summary
from pipeline.artefacts import FULL, Scope, read_ledger, read_parquet, read_results
from pipeline.page import render

_DIFFICULTY = ("index", "label", "score", "rank", "right", "weight")
_PACKAGES = ("dasm", "torch", "dvc", "pyarrow")


def write(root: Path, params: Mapping[str, Any]) -> Path:
    """Write the report of a study to `reports/<study>`.

    Args:
        root: folder that holds params.yaml, `data` and `reports`.
        params: what params.yaml says.

    Returns:
        The folder written.

    Raises:
        ConfigError: an artefact is missing, or not what it should be.
    """
    scope = Scope.of(params)
    results = read_results(root, scope)
    table, paired = summary.table(results, scope), summary.paired(results, scope)
    states = {
        arm: [read_parquet(root / layout.difficulty(arm, n), _DIFFICULTY) for n in scope.scores] for arm in scope.scored
    }
    page = {
        **_numbers(scope, table, paired),
        **_pictures(root, scope, states),
        **_costs(read_ledger(root, scope), scope),
        "facts": _facts(root, results),
        "accuracy": {n: figures.svg(figures.accuracy(table, scope, [n]), f"accuracy {n}") for n in scope.networks},
        "difficulty": {
            a: figures.svg(figures.difficulty({a: s}, scope.segments), f"difficulty {a}") for a, s in states.items()
        },
        "moves": {arm: summary.difficulty(tables, scope.segments).to_dict("records") for arm, tables in states.items()},
    }
    folder = root / "reports" / scope.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(render("report.html", page), encoding="utf-8")
    (folder / "table.md").write_text(render("table.md", page), encoding="utf-8")
    long = ["network", "arm", "prefix_ipc", "mean", "std", "n", "validation_mean"]
    table[long].to_csv(folder / "table.csv", index=False, float_format="%.4f")
    paired.to_csv(folder / "paired.csv", index=False, float_format="%.4f")
    (folder / "metrics.json").write_text(json.dumps(summary.metrics(table), indent=1) + "\n")
    (folder / "accuracy.png").write_bytes(figures.png(figures.accuracy(table, scope, scope.networks)))
    (folder / "difficulty.png").write_bytes(figures.png(figures.difficulty(states, scope.segments)))
    return folder


def _numbers(scope: Scope, table: pd.DataFrame, paired: pd.DataFrame) -> dict[str, Any]:
    largest = int(table["prefix_ipc"].max())
    at_largest = table[(table["network"] == scope.networks[0]) & (table["prefix_ipc"] == largest)]
    rivals = scope.joint or scope.arms[1:]
    headline = paired[(paired["network"] == scope.networks[0]) & (paired["prefix_ipc"] == largest)]
    reach = (
        paired.set_index(["network", "minus"])[["lower", "mean", "upper"]].abs().max(axis=1).groupby(level=[0, 1]).max()
    )
    return {
        "scope": scope,
        "full_arm": FULL,
        "prefixes": sorted({*table["prefix_ipc"]} - {0}),
        "seeds": int(table["n"].max()),
        "cells": {(row.network, row.arm, row.prefix_ipc): row for row in table.itertuples()},
        "winner": at_largest[at_largest["best"]].iloc[0].to_dict(),
        "headline": headline[headline["minus"].isin(rivals[:1])].to_dict("records"),
        "paired": {(row.network, row.minus, row.prefix_ipc): row for row in paired.itertuples()},
        "reach": reach.to_dict(),
    }


def _pictures(root: Path, scope: Scope, states: Mapping[str, list[pd.DataFrame]]) -> dict[str, Any]:
    real, last = gallery.Real.read(root), scope.segments
    others = (*scope.controls, *scope.coresets)
    return {
        "segments": {
            arm: gallery.segments(root / layout.distilled(arm, last), real, states[arm]) for arm in scope.scored
        },
        "wholes": {arm: gallery.whole(root / layout.distilled(arm, last), real) for arm in others},
        "num_classes": len(real.class_names),
        "class_width": max(map(len, real.class_names)),
        "num_images": len(real.labels),
    }


def _costs(ledger: pd.DataFrame, scope: Scope) -> dict[str, Any]:
    curves: dict[str, dict[str, list[float]]] = {}
    for arm, k, values in zip(ledger["arm"], ledger["number"], ledger["distances"], strict=True):
        if values:
            curves.setdefault(arm, {})[f"prefix {k + 1}" if arm in scope.joint else f"segment {k}"] = values
    drawn = {arm: figures.distances(arm, curves[arm]) for arm in scope.arms if arm in curves}
    return {
        "by_arm": summary.cost(ledger, ["arm"]).to_dict("records"),
        "by_stage": summary.cost(ledger, ["arm", "stage"]).to_dict("records"),
        "total": summary.cost(ledger.assign(all=""), ["all"]).iloc[0].to_dict(),
        "distances": {arm: figures.svg(figure, f"distances {arm}") for arm, figure in drawn.items()},
    }


def _facts(root: Path, results: pd.DataFrame) -> dict[str, Any]:
    source = (root / "params.yaml").read_bytes()
    return {
        "params": source.decode(),
        "hash": hashlib.sha256(source).hexdigest()[:12],
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "trained": sorted({f"torch {row.torch_version} on {row.device}" for row in results.itertuples()}),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # dvc may live in an environment of its own
        return "elsewhere"
