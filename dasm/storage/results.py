"""What is known of sets, as Parquet: benchmark results, a row per network trained, and diagnoses, a row per set."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from dasm.diagnosis import PARTS, Diagnosis
from dasm.difficulty import Difficulty
from dasm.evaluate import Accuracy
from dasm.machine.counts import Counts
from dasm.storage.parquet import read_table, write_table

_COSTS = ("forward_images", "backward_images", "flops")


def write_results(
    path: Path,
    results: Mapping[str, Sequence[Accuracy]],
    costs: Mapping[str, Counts],
    identity: Mapping[str, Any],
    meta: Mapping[str, Any],
) -> None:
    """Write the accuracies (in [0, 1]) of every architecture, and which test images each network classifies correctly.

    A column `unaugmented` is there where the networks have been trained without augmentation as well.

    Args:
        path: Parquet file.
        results: architecture name to accuracies, one per seed.
        costs: architecture name to what its networks cost together; every row gets an equal share. Seconds are in the
            ledger alone: they differ from run to run, and the results of a study do not.
        identity: columns that every row repeats: arm, prefix_ipc, …
        meta: provenance for the footer.
    """
    rows = [
        {
            **identity,
            "network": network,
            "seed": a.seed,
            "validation": a.validation,
            "test": a.test,
            "test_right": list(a.right),
            **({} if a.unaugmented is None else {"unaugmented": a.unaugmented}),
            **{name: getattr(costs[network], name) // len(accuracies) for name in _COSTS},
        }
        for network, accuracies in results.items()
        for a in accuracies
    ]
    write_table(path, _columns(rows), "result/2", meta)


def pass_on(source: Path, path: Path, identity: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Write the results of a set as those of another arm that has the same set.

    Args:
        source: its results.
        path: Parquet file to write.
        identity: columns that differ between the arms, the same in every row.
        meta: provenance for the footer.
    """
    table, _ = read_table(source, "result/2")
    write_table(path, _columns([{**row, **identity} for row in table.to_pylist()]), "result/2", meta)


def write_diagnoses(folder: Path, found: Mapping[tuple[str, int], Diagnosis], meta: Mapping[str, Any]) -> None:
    """Write `sets.parquet`, a row per set, and `segments.parquet`, a row per segment of each.

    Args:
        folder: where to.
        found: arm and images per class to what the set holds.
        meta: provenance for the footers.
    """
    sets, segments = list[dict[str, Any]](), list[dict[str, Any]]()
    for (arm, prefix_ipc), diagnosis in found.items():
        place = {"arm": arm, "prefix_ipc": prefix_ipc}
        shares = dict(zip(PARTS, diagnosis.coverage, strict=True))
        sets.append({**place, "images": diagnosis.images, **shares, "diversity": diagnosis.diversity})
        segments += [{**place, "segment": k, **asdict(segment)} for k, segment in enumerate(diagnosis.segments)]
    write_table(folder / "sets.parquet", _columns(sets), "diagnosis/1", meta)
    write_table(folder / "segments.parquet", _columns(segments), "diagnosis/1", meta)


def write_ranks(path: Path, difficulty: Difficulty, meta: Mapping[str, Any]) -> None:
    """Write a row per image: class, score, rank fraction within the class."""
    columns = {
        "label": pa.array(difficulty.labels.numpy(), pa.int64()),
        "score": pa.array(difficulty.score.numpy(), pa.float32()),
        "rank": pa.array(difficulty.rank.numpy(), pa.float64()),
    }
    write_table(path, columns, "ranks/1", meta)


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, pa.Array]:
    return {name: pa.array([row[name] for row in rows]) for name in rows[0]}
