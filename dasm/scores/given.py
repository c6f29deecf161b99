"""Scores from elsewhere: published C-scores (Jiang et al., ICML 2021, arXiv 2002.03206), or anybody's own.

A Parquet file with a row for every image of the data set in stored order, training images first: `score`, higher is
harder. With a column `origin` beside it, rows may come in any order, and none is needed of an image that is not trained
on; with `label`, an integer, the classes have to be those of the images. Networks are not asked, and so every state
has the same ranks; what they get right is still told to windows that go by it (`frontier`, `residual`).

Deviations from the paper: 1. a C-score is how well an image is predicted by networks that have not seen it, high for
easy ones; it goes into the file with its sign changed, or as 1 minus itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dasm.errors import ConfigError, require
from dasm.readings import Reading
from dasm.scores import Score
from dasm.storage.parquet import readable
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class Given(Score):
    """The numbers of a file, as they are there.

    Attributes:
        path: the file.
    """

    knows_the_label: ClassVar[bool] = False
    path: str

    def files(self) -> Sequence[str]:
        return [self.path]

    def check(self, real: LabelledImages) -> None:
        self._read(real)

    def __call__(
        self,
        real: LabelledImages,
        snapshots: Sequence[Reading],  # noqa: ARG002
        reference: Sequence[Reading],  # noqa: ARG002
    ) -> Float[Tensor, " n"]:
        return self._read(real)

    def _read(self, real: LabelledImages) -> Float[Tensor, " n"]:
        if real.origin is None:
            raise ConfigError("score given: must know where images stand in their data set (`origin`), got none")
        with readable(Path(self.path)):
            # A folder would be read as the table of all files in it.
            table = pq.ParquetFile(self.path).read()
        stored = self._column(table, "score", "numbers", pa.types.is_floating, pa.types.is_integer)
        with np.errstate(over="ignore"):
            score = stored.astype(np.float32)
        wrong = np.flatnonzero(~np.isfinite(score))
        if len(wrong):
            raise ConfigError(
                f"{self.path}: score must be finite in every row, got {score[wrong[0]]} in row {wrong[0]}"
            )
        wanted = real.origin.cpu().numpy()
        rows = self._rows(table, wanted)
        if "label" in table.column_names:
            label = self._column(table, "label", "integers", pa.types.is_integer)
            other = np.flatnonzero(label[rows] != real.labels.cpu().numpy())
            if len(other):
                raise ConfigError(
                    f"{self.path}: label must be the class of every image, got {label[rows[other[0]]]} for image"
                    f" {wanted[other[0]]}, of class {int(real.labels[other[0]])} (another order, or other labels)"
                )
        return torch.from_numpy(score[rows]).to(real.labels.device)

    def _rows(self, table: pa.Table, wanted: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        """Return the row of every wanted image."""
        count, last = len(table), int(wanted.max(initial=0))
        if "origin" not in table.column_names:
            rule = f"{self.path}: must have a row for each image of the data set in stored order, {last + 1} or more"
            require(count > last, rule, count, "or a column `origin` that says which they are")
            return wanted
        origin = self._column(table, "origin", "integers", pa.types.is_integer)
        order = np.argsort(origin, kind="stable")
        twice = np.flatnonzero(np.diff(origin[order]) == 0)
        if len(twice):
            raise ConfigError(f"{self.path}: origin must name every image once, got {origin[order[twice[0]]]} twice")
        places = np.searchsorted(origin[order], wanted).clip(max=count - 1)
        missing = np.flatnonzero(origin[order[places]] != wanted) if count else np.arange(len(wanted))
        if len(missing):
            raise ConfigError(
                f"{self.path}: origin must name every training image, got none of {len(missing)} of {len(wanted)}"
                f" (image {wanted[missing[0]]} is the first)"
            )
        found: Int64[np.ndarray, " n"] = order[places]
        return found

    def _column(self, table: pa.Table, name: str, what: str, *kinds: object) -> np.ndarray:
        if table.column_names.count(name) != 1:
            raise ConfigError(f"{self.path}: must have a column {name!r}, got {', '.join(table.column_names)}")
        column = table[name]
        if column.null_count or not any(kind(column.type) for kind in kinds):  # type: ignore[operator]
            raise ConfigError(f"{self.path}: {name} must hold {what}, got {column.type}, {column.null_count} missing")
        return column.to_numpy()
