"""A folder with `train.parquet` and `test.parquet` in the Hugging Face image convention.

Each row holds an encoded image (a struct of `bytes` and `path`, or the bytes themselves) and an integer class. Class
names come from the `ClassLabel` feature in the footer; without one, classes are named by their number.
"""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from dasm import rng
from dasm.data import Dataset, held_out, make_task
from dasm.errors import ConfigError, require
from dasm.types import Task

_MODES = {"grey": "L", "rgb": "RGB"}


@final
@dataclass(frozen=True, kw_only=True)
class Parquet(Dataset):
    """Images of one size; decoded once. Only bytes stored in the files are read, never a path they mention.

    Attributes:
        root: the folder.
        validation: share of every training class held out for choices, in (0, 1).
        color: convert every image to `rgb` or `grey`.
        image_column: column of the encoded images; `image` or `img` is found by itself.
        label_column: column of the class indices.
    """

    root: str
    validation: float = 0.1
    color: Literal["rgb", "grey"] = "rgb"
    image_column: str | None = None
    label_column: str = "label"

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require(0 < self.validation < 1, "validation must be in (0, 1)", self.validation)

    def load(self, seed: int) -> Task:
        (images, labels, names), test = self._read("train"), self._read("test")
        if test[2] != names:
            raise ConfigError(f"{self._file('test')}: must have the classes of train.parquet, got {test[2]!r}")
        try:
            kept, out = held_out(labels, self.validation, rng.derive(seed, "split", "validation"))
            return make_task((images[kept], labels[kept]), (images[out], labels[out]), test[:2], class_names=names)
        except ConfigError as error:
            raise ConfigError(f"{self.root}: {error}") from error

    def _file(self, split: str) -> Path:
        return Path(self.root) / f"{split}.parquet"

    def _read(self, split: str) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
        path = self._file(split)
        if not path.is_file():
            raise ConfigError(f"{path}: no such file (data.root must hold train.parquet and test.parquet)")
        try:
            table = pq.read_table(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise ConfigError(f"{path}: must be a readable Parquet file ({str(error).splitlines()[0]})") from error
        if not table.num_rows:
            raise ConfigError(f"{path}: must hold images, got 0 rows")
        labels = table[self._column(table, path, self.label_column, "label")]
        if not pa.types.is_integer(labels.type) or labels.null_count:
            raise ConfigError(f"{path}: column {self.label_column!r} must hold integers, got {labels.type}")
        numbers = labels.to_numpy().astype(np.int64)
        names = _class_names(table.schema, self.label_column) or tuple(str(c) for c in range(int(numbers.max()) + 1))
        wrong = np.flatnonzero((numbers < 0) | (numbers >= len(names)))
        if len(wrong):
            row = int(wrong[0])
            raise ConfigError(f"{path}: row {row} must have a label in [0, {len(names)}), got {numbers[row]}")
        return self._decode(table, path), numbers, names

    def _column(self, table: pa.Table, path: Path, wanted: str | None, *usual: str) -> str:
        for name in (wanted,) if wanted else usual:
            if name in table.column_names:
                return name
        raise ConfigError(f"{path}: must have a column {wanted or usual[0]!r}, got {', '.join(table.column_names)}")

    def _decode(self, table: pa.Table, path: Path) -> np.ndarray:
        column = table[self._column(table, path, self.image_column, "image", "img")]
        if pa.types.is_struct(column.type):
            encoded = [None if row is None else row.get("bytes") for row in column.to_pylist()]
        else:
            encoded = column.to_pylist()
        mode = _MODES[self.color]

        def decode(row: int) -> np.ndarray:
            data = encoded[row]
            if not isinstance(data, bytes):
                raise ConfigError(f"{path}: row {row} must hold the bytes of an image, got none")
            try:
                with Image.open(io.BytesIO(data)) as image:
                    return np.asarray(image.convert(mode), dtype=np.uint8)
            except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
                raise ConfigError(f"{path}: row {row} must be a readable image ({error})") from error

        # Pillow lets go of the interpreter while it decodes.
        with ThreadPoolExecutor() as pool:
            first = decode(0)
            images = np.empty((len(encoded), *first.shape), dtype=np.uint8)
            for row, pixels in enumerate(pool.map(decode, range(len(encoded)))):
                if pixels.shape != first.shape:
                    raise ConfigError(f"{path}: row {row} must have shape {first.shape[:2]}, got {pixels.shape[:2]}")
                images[row] = pixels
        planes = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(planes)


def _class_names(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    footer = (schema.metadata or {}).get(b"huggingface")
    if footer is None:
        return None
    feature = json.loads(footer).get("info", {}).get("features", {}).get(column, {})
    return tuple(feature["names"]) if "names" in feature else None
