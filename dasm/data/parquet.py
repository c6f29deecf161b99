"""Parquet files in the Hugging Face image convention: one per split, or many.

The files of a split are `train.parquet`, or `train*.parquet` (`train-00000-of-00002.parquet`: all of them must be
there), or `train/*.parquet`, in the order of their names by code point; likewise `test`, and `val`, `valid` or
`validation`. Test is the benchmark and val is for choices; where there is only one of them, it is the benchmark, and
validation images are drawn from train.

Each row holds an encoded image (a struct of `bytes` and `path`, or the bytes themselves) and an integer class. Class
names come from the `ClassLabel` feature in the footer; without one, classes are named by their number.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int64

from dasm.data import Dataset
from dasm.errors import ConfigError, require, within
from dasm.images.reading import Color, Encoded, ImageReader
from dasm.images.sources import Block, Source, block_length
from dasm.images.splits import complete_splits, stored_splits
from dasm.storage.parquet import readable

_NAMES = ("train", "test", "val", "valid", "validation")
# PyArrow reads the images of a whole row group at once, which may be all there are; with these, those of a page.
_STREAMED = {"buffer_size": 1 << 20, "pre_buffer": False}


@final
@dataclass(frozen=True, kw_only=True)
class Parquet(Dataset):
    """Images of any size and format (`dasm.images.reading` says what becomes of them). No path in a file is followed.

    Attributes:
        root: the folder.
        size: pixels per side to resize and cut to, in [1, 1e4]; without one, all images must have one size.
        color: convert every image to `rgb` or `grey`.
        validation: share of every training class held out for choices where there are no files for them, in (0, 1).
        image_column: column of the encoded images; `image` or `img` is found by itself.
        label_column: column of the class indices.
    """

    root: str
    size: int | None = None
    color: Color = "rgb"
    validation: float = 0.1
    image_column: str | None = None
    label_column: str = "label"

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        ImageReader(size=self.size)
        within(self, "(0, 1)", "validation")

    def files(self) -> list[str]:
        return [str(path) for name in _NAMES for path in _files(Path(self.root), name)]

    def open(self, seed: int) -> Source:
        files = {name: _files(Path(self.root), name) for name in _NAMES}
        names = stored_splits([name for name in _NAMES if files[name]], self.root)
        if not names:
            raise ConfigError(f"{self.root}: must hold train*.parquet and test*.parquet, or folders of them, got none")
        shards = {split: [self._shard(path) for path in files[name]] for split, name in names.items()}
        every = [shard for split in shards for shard in shards[split]]
        labels = {split: np.concatenate([shard.labels for shard in shards[split]]) for split in shards}
        classes = _classes(every, labels["train"])
        reader = ImageReader(color=self.color, size=self.size)
        shape = reader.shape(row for shard in every for rows in shard.rows(1) for row in rows)
        return Source(
            where=self.root,
            class_names=classes,
            labels=np.concatenate(list(labels.values())),
            image_shape=shape,
            splits=complete_splits(labels, classes, where=self.root, seed=seed, validation=self.validation),
            blocks=partial(_blocks, every, reader, shape),
        )

    def _shard(self, path: Path) -> "_Shard":
        with readable(path):
            schema = pq.read_schema(path)
            image = _column(schema, path, self.image_column, "image", "img")
            label = _column(schema, path, self.label_column, "label")
            labels = pq.read_table(path, columns=[label])[label]
        if not len(labels):
            raise ConfigError(f"{path}: must hold images, got 0 rows")
        if not pa.types.is_integer(labels.type) or labels.null_count:
            raise ConfigError(
                f"{path}: column {label!r} must hold integers, got {labels.type}, {labels.null_count} missing"
            )
        leaf = _leaf(schema.field(image), path)
        return _Shard(path, leaf, labels.to_numpy().astype(np.int64), _class_names(schema, label, path))


@final
@dataclass(frozen=True, eq=False)
class _Shard:
    """One file: the column of its images, their labels, and the classes it knows of."""

    path: Path
    column: str
    labels: Int64[np.ndarray, " n"]
    class_names: tuple[str, ...] | None

    def rows(self, count: int) -> Iterator[list[Encoded]]:
        """Read the file, so many rows at a time: what messages call an image, and its bytes."""
        start = 0
        with readable(self.path), pq.ParquetFile(self.path, **_STREAMED) as file:
            for batch in file.iter_batches(count, columns=[self.column]):
                column = batch.column(0)
                encoded = (column.flatten()[0] if pa.types.is_struct(column.type) else column).to_pylist()
                yield [(f"{self.path}: row {start + i}", data) for i, data in enumerate(encoded)]
                start += len(encoded)


def _blocks(shards: list[_Shard], reader: ImageReader, shape: tuple[int, int, int]) -> Iterator[Block]:
    for shard in shards:
        for rows in shard.rows(block_length(shape, shard.path.stat().st_size // len(shard.labels))):
            yield partial(reader.block, rows, shape, len(rows))


def _files(root: Path, name: str) -> list[Path]:
    """Find the files of a split in one of the three layouts, in order."""
    beside = sorted(path for path in root.glob(f"{name}*.parquet") if not path.stem.removeprefix(name)[:1].isalpha())
    below = sorted((root / name).glob("*.parquet"))
    whole = [path for path in beside if path.stem == name]
    layouts = [files for files in (whole, [path for path in beside if path not in whole], below) if files]
    if len(layouts) > 1:
        raise ConfigError(f"{root}: must have one layout of {name}, got {layouts[0][0].name} and {layouts[1][0].name}")
    files = layouts[0] if layouts else []
    counted = [match for file in files if (match := re.search(r"-(\d+)-of-(\d+)", file.stem))]
    if counted and [int(match[1]) for match in counted] != list(range(int(counted[0][2]))):
        raise ConfigError(f"{root}: must hold all {counted[0][2]} files of {name}, each once, got {len(counted)}")
    return files


def _column(schema: pa.Schema, path: Path, wanted: str | None, *usual: str) -> str:
    for name in (wanted,) if wanted else usual:
        if name in schema.names:
            return name
    raise ConfigError(f"{path}: must have a column {wanted or usual[0]!r}, got {', '.join(schema.names)}")


def _leaf(image: pa.Field, path: Path) -> str:
    kind = image.type
    inner = pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    stored = kind.field("bytes").type if inner else kind
    if not (pa.types.is_binary(stored) or pa.types.is_large_binary(stored)):
        raise ConfigError(f"{path}: column {image.name!r} must hold the bytes of encoded images, got {kind}")
    return f"{image.name}.bytes" if inner else image.name


def _classes(shards: list[_Shard], training: Int64[np.ndarray, " n"]) -> tuple[str, ...]:
    """Return the class names on which all files agree, after a look at every label."""
    first, largest = shards[0], int(training.max())
    for shard in shards:
        if shard.class_names != first.class_names:
            raise ConfigError(f"{shard.path}: must have the classes of {first.path.name}, got {shard.class_names}")
    if not first.class_names:
        rule = f"{first.path.parent}: labels must count the classes from 0, of which none is without images"
        require(largest < len(training), rule, largest, f"{len(training)} rows for training")
    names = first.class_names or tuple(str(c) for c in range(largest + 1))
    for shard in shards:
        wrong = np.flatnonzero((shard.labels < 0) | (shard.labels >= len(names)))
        if len(wrong):
            row = wrong[0]
            raise ConfigError(
                f"{shard.path}: row {row} must have a label in [0, {len(names)}), got {shard.labels[row]}"
            )
    return names


def _class_names(schema: pa.Schema, column: str, path: Path) -> tuple[str, ...] | None:
    footer = (schema.metadata or {}).get(b"huggingface")
    if footer is None:
        return None
    try:
        feature = json.loads(footer).get("info", {}).get("features", {}).get(column, {})
        return tuple(map(str, feature["names"])) if "names" in feature else None
    except (ValueError, AttributeError, TypeError) as error:
        raise ConfigError(f"{path}: must have a Hugging Face footer that can be read ({error})") from error
