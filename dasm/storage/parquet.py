"""Parquet files: written so that they say what they are, read so that a file that is not is named."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dasm.errors import ConfigError
from dasm.storage.files import write_atomically
from dasm.storage.hugging_face import features

# Bytes of a row group of images at most: readers take no more than 2 GiB of one column at once.
_GROUP = 1 << 30


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Say of a file that cannot be read which one it is.

    Raises:
        ConfigError: the block has met a file that is missing, may not be read, or is damaged.
    """
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise ConfigError(f"{path}: must be a readable Parquet file ({str(error).splitlines()[0]})") from error


def write_table(
    path: Path, columns: Mapping[str, pa.Array | pa.ChunkedArray], schema: str, meta: Mapping[str, Any]
) -> None:
    """Write a Parquet file whose footer names its schema (`dasm.schema`) and provenance (`dasm.meta`, JSON)."""
    footer = {"dasm.schema": schema, "dasm.meta": json.dumps(dict(meta), sort_keys=True)}
    if "class_names" in meta and "image" in columns:
        footer["huggingface"] = json.dumps({"info": {"features": features(columns, meta["class_names"])}})
    table = pa.table(dict(columns)).replace_schema_metadata(footer)
    groups = -(-table.nbytes // _GROUP) if "image" in columns else 1
    write_atomically(path, lambda temporary: _write(temporary, table, groups))


def _write(path: Path, table: pa.Table, groups: int) -> None:
    if groups <= 1:
        # In one piece: where the pieces of a column end would show in the bytes of the file.
        pq.write_table(table.combine_chunks(), path, compression="zstd")
        return
    rows = max(1, -(-len(table) // groups))
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        for start in range(0, len(table), rows):
            # Of one group: a piece of a column holds no more than 2 GiB.
            writer.write_table(table.slice(start, rows).combine_chunks(), row_group_size=rows)


def read_table(path: Path, *schemas: str) -> tuple[pa.Table, dict[str, Any]]:
    """Read a Parquet file written by `write_table` with one of the schemas.

    Returns:
        The table and its provenance.

    Raises:
        ConfigError: no such file, not Parquet, or another schema.
    """
    if not path.exists():
        raise ConfigError(f"{path}: no such file")
    with readable(path):
        table = pq.read_table(path)
    footer = table.schema.metadata or {}
    found = footer.get(b"dasm.schema", b"none").decode()
    if found not in schemas:
        raise ConfigError(f"{path}: must have schema {' or '.join(schemas)}, got {found}")
    return table, json.loads(footer[b"dasm.meta"])
