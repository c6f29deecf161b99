"""What is kept as a table, in and out: segments and difficulty as Parquet.

The same content gives the same bytes: no time, host or path is written. Files are written under a temporary name,
synced and renamed, so that a reader never sees half of one. A segment is in the Hugging Face image convention:
`datasets.load_dataset("parquet", data_files=...)` opens it with decoded images and class names.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from dasm.difficulty import Difficulty
from dasm.images.png import from_png, to_png
from dasm.storage.lineage import FIELDS, Lineage, content, naming, verify
from dasm.storage.parquet import read_table, write_table
from dasm.types import Segment

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_segment(
    path: Path, segment: Segment, class_names: Sequence[str], provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """Write one segment: a row per stored image, a PNG each; the footer holds its provenance and its hash.

    Soft labels are a column, and a learned step size is an entry of the footer, of those segments that have them.

    Returns:
        The provenance as it will be read, its hash `content` included.
    """
    meta = {**provenance, "class_names": list(class_names)}
    meta["content"] = content(segment, meta)
    own = {"iterations": segment.iterations, "learned_rate": segment.learned_rate}
    plain = {name: value for name, value in own.items() if value is not None}
    write_table(path, segment_columns(segment), "segment/2", meta | plain)
    return meta


def segment_columns(segment: Segment) -> dict[str, pa.Array]:
    """Return what Parquet holds of a segment besides its footer."""
    n = len(segment.labels)
    columns = {
        "image": pa.array([{"bytes": to_png(image), "path": None} for image in segment.images], _IMAGE),
        "label": pa.array(segment.labels.numpy(), pa.int64()),
        "segment": pa.array([segment.index] * n, pa.int32()),
        "factor": pa.array([segment.factor] * n, pa.int32()),
        "window_lower": pa.array([segment.lower] * n, pa.float64()),
        "window_upper": pa.array([segment.upper] * n, pa.float64()),
        "sources": pa.array(segment.sources.tolist(), pa.list_(pa.int64())),
    }
    if segment.soft_labels is not None:
        # Row by row like the sources: those of tile 0 of the stored image, of tile 1, …
        tiles = segment.soft_labels.unflatten(0, (-1, n)).transpose(0, 1)
        columns["soft_labels"] = pa.array(tiles.tolist(), pa.list_(pa.list_(pa.float32())))
    return columns


def read_segment(path: Path) -> Segment:
    """Read what `write_segment` wrote, pixel for pixel."""
    table, meta = read_table(path, "segment/2")
    with naming(path):
        return segment_of(table, meta)


def segment_of(table: pa.Table, meta: Mapping[str, Any]) -> Segment:
    """Return the segment of which a table holds the columns, and `meta` what is no column."""
    rows = table.to_pydict()
    return Segment(
        images=torch.stack([from_png(image["bytes"]) for image in rows["image"]]),
        labels=torch.tensor(rows["label"]),
        index=rows["segment"][0],
        factor=rows["factor"][0],
        sources=torch.tensor(rows["sources"]),
        lower=rows["window_lower"][0],
        upper=rows["window_upper"][0],
        iterations=meta["iterations"],
        soft_labels=torch.tensor(rows["soft_labels"]).transpose(0, 1).flatten(0, 1) if "soft_labels" in rows else None,
        learned_rate=meta.get("learned_rate"),
    )


def read_segments(folder: Path) -> list[Segment]:
    """Read the segments of one state of an arm, in order: the files `s<k>.parquet` of its folder (none at state 0).

    Raises:
        ConfigError: a file is not as it was written, or does not follow the one before it.
    """
    return [segment for segment, _ in read_chain(segment_files(folder))]


def segment_files(folder: Path) -> list[Path]:
    """Return the files `s<k>.parquet` of a folder, in the order of their numbers."""
    found = [file for file in folder.glob("s*.parquet") if file.stem[1:].isdecimal()]
    return sorted(found, key=lambda file: int(file.stem[1:]))


def read_chain(files: Sequence[Path]) -> Lineage:
    """Read segments that follow each other, each with its provenance."""
    chain = []
    for file in files:
        table, meta = read_table(file, "segment/2")
        with naming(file):
            chain.append((segment_of(table, meta), {key: value for key, value in meta.items() if key not in FIELDS}))
    verify((str(file), *link) for file, link in zip(files, chain, strict=True))
    return chain


def write_difficulty(path: Path, difficulty: Difficulty, weights: Float[Tensor, " n"], meta: Mapping[str, Any]) -> None:
    """Write a row per real image: score, spread, rank, share of evaluators that are right, weight in the window."""
    columns = {
        "index": pa.array(np.arange(len(weights)), pa.int32()),
        "label": pa.array(difficulty.labels.numpy(), pa.int64()),
        "score": pa.array(difficulty.score.numpy(), pa.float32()),
        "spread": pa.array(difficulty.spread.numpy(), pa.float32()),
        "rank": pa.array(difficulty.rank.numpy(), pa.float64()),
        "right": pa.array(difficulty.right.numpy(), pa.float32()),
        "weight": pa.array(weights.numpy(), pa.float32()),
    }
    write_table(path, columns, "difficulty/1", meta)


def read_window(path: Path) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Read the weights of the next window and the rank fractions from a difficulty table."""
    table, _ = read_table(path, "difficulty/1")
    return torch.tensor(table["weight"].to_numpy()), torch.tensor(table["rank"].to_numpy())


def read_difficulty(path: Path) -> Difficulty:
    """Read a difficulty table without its window."""
    table, _ = read_table(path, "difficulty/1")
    score, spread, right, label = (
        torch.tensor(table[name].to_numpy()) for name in ("score", "spread", "right", "label")
    )
    return Difficulty(score=score, spread=spread, right=right, labels=label)
