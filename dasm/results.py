"""Benchmark results as Parquet: one row per network trained."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from dasm.counts import Counts
from dasm.evaluate import Accuracy
from dasm.tables import read_table, write_table

_COSTS = ("forward_images", "backward_images", "flops")


def write_results(
    path: Path,
    results: Mapping[str, Sequence[Accuracy]],
    costs: Mapping[str, Counts],
    identity: Mapping[str, Any],
    meta: Mapping[str, Any],
) -> None:
    """Write the accuracies (in [0, 1]) of every architecture.

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
            **{name: getattr(costs[network], name) // len(accuracies) for name in _COSTS},
        }
        for network, accuracies in results.items()
        for a in accuracies
    ]
    columns = {name: pa.array([row[name] for row in rows]) for name in rows[0]}
    write_table(path, columns, "result/1", meta)


def pass_on(source: Path, path: Path, identity: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Write the results of a set as those of another arm that has the same set.

    Args:
        source: its results.
        path: Parquet file to write.
        identity: columns that differ between the arms, the same in every row.
        meta: provenance for the footer.
    """
    table, _ = read_table(source, "result/1")
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    write_table(
        path, columns | {name: pa.array([value] * len(table)) for name, value in identity.items()}, "result/1", meta
    )
