"""What the report reads: results, difficulty tables, the ledger. Accuracies come out in percent.

Parquet is read without `dasm.tables`, so that a report costs no import of torch.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dasm.errors import ConfigError, require
from dasm.images.truth import read_truth
from pipeline import layout, params
from pipeline.graph.templates import stages
from pipeline.names import FULL
from pipeline.reporting.scope import Scope

_DIFFICULTY = ("index", "label", "score", "rank", "right", "weight")
# Of the segments that have them: a list of numbers per stored image, or one per tile of it.
_SOFT_LABELS = "soft_labels"
# Images that are looked at in one piece.
_ROWS = 4096


def read_parquet(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read some columns of a Parquet file.

    Raises:
        ConfigError: no such file, not Parquet, a column missing, or no rows.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: must exist, got no such file (`dvc repro` makes it)")
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            missing = {*columns} - {*names}
            require(not missing, f"{path}: must have the columns {', '.join(columns)}", sorted(names))
            # By row groups: those of images hold as much as can be read at once.
            groups = [file.read_row_group(group, list(columns)) for group in range(file.num_row_groups)]
            frame = (pa.concat_tables(groups) if groups else file.read(list(columns))).to_pandas()
    except (pa.ArrowInvalid, OSError) as error:
        raise ConfigError(f"{path}: must be readable Parquet, got: {str(error).splitlines()[0]}") from error
    require(len(frame) > 0, f"{path}: must have rows", 0)
    return frame[list(columns)]


def segment_files(folder: Path) -> list[Path]:
    """Return the files of a state's segments, in their order."""
    files = sorted(folder.glob("s*.parquet"), key=lambda file: int(file.stem.removeprefix("s")))
    require(bool(files), f"{folder}: must hold s0.parquet and its successors", "none")
    return files


def read_storage(folder: Path) -> tuple[int, int]:
    """Return what a state keeps, in bytes: its images as encoded, and its soft labels as plain numbers (0 without)."""
    images = labels = 0
    for path in segment_files(folder):
        with pq.ParquetFile(path) as file:
            soft = _SOFT_LABELS in file.schema_arrow.names
            for batch in file.iter_batches(_ROWS, columns=["image", *([_SOFT_LABELS] if soft else [])]):
                images += pc.sum(pc.binary_length(pc.struct_field(batch["image"], "bytes"))).as_py()
                if soft:
                    values = _flat(batch[_SOFT_LABELS])
                    labels += len(values) * values.type.bit_width // 8
    return images, labels


def _flat(values: pa.Array) -> pa.Array:
    while pa.types.is_nested(values.type):
        values = values.flatten()
    return values


def fingerprint(folder: Path) -> str:
    """Return a hash of what a state's set holds, the same for the same images with the same labels in any order.

    It says nothing of segments and of who made them: a joint arm's set may be another's first segment.
    """
    rows = []
    for path in segment_files(folder):
        with pq.ParquetFile(path) as file:
            held = [name for name in ("image", "label", "factor", _SOFT_LABELS) if name in file.schema_arrow.names]
            for batch in file.iter_batches(_ROWS, columns=held):
                columns = [pc.struct_field(batch["image"], "bytes").to_pylist()]
                columns += [[b"%d" % value for value in batch[name].to_pylist()] for name in ("label", "factor")]
                if _SOFT_LABELS in held:
                    numbers = np.asarray(_flat(batch[_SOFT_LABELS])).reshape(len(batch), -1)
                    columns.append([row.tobytes() for row in numbers])
                rows += [hashlib.sha256(b"%b" * len(row) % row).digest() for row in zip(*columns, strict=True)]
    return hashlib.sha256(b"".join(sorted(rows))).hexdigest()


def softly_judged(root: Path, study: Mapping[str, Any], scope: Scope) -> tuple[str, ...]:
    """Return the arms of whose images the benchmark's networks learnt distributions over the classes."""
    labels = params.value(study, "benchmark.protocol").get("labels", "own")
    if labels != "own":
        return scope.arms if labels == "teacher" else ()
    firsts = {arm: segment_files(root / layout.distilled(arm, scope.states[-1]))[0] for arm in scope.arms}
    return tuple(arm for arm, path in firsts.items() if _SOFT_LABELS in pq.read_schema(path).names)


def read_states(root: Path, scope: Scope) -> dict[str, list[pd.DataFrame]]:
    """Read the difficulty tables of every scored arm: a row per real image, at every state.

    A joint arm is scored at the first one alone.

    Where labels were changed on purpose, `wrong` is 1 for those that are not what they were, and else 0.
    """
    truth = read_truth(root / layout.REAL)
    states = {
        arm: [
            read_parquet(root / layout.difficulty(arm, n), _DIFFICULTY)
            for n in (scope.scores[:1] if arm in scope.joint else scope.scores)
        ]
        for arm in scope.scored
    }
    if truth is None:
        return states
    return {
        arm: [table.assign(wrong=(table["label"] != truth[table["index"]]).astype(float)) for table in tables]
        for arm, tables in states.items()
    }


def read_results(root: Path, scope: Scope) -> pd.DataFrame:
    """Read the benchmark of every prefix of every arm and of the full set: a row per network trained.

    `set` is the fingerprint of the set that it learnt, and empty for the full one.
    """
    shares = ["validation", "test", *(["unaugmented"] if scope.unaugmented else [])]
    columns = ["arm", "prefix_ipc", "network", "seed", *shares, "torch_version", "device"]
    sizes: dict[int, int] = {}
    parts = []
    for arm, state in [*((arm, state) for arm in scope.arms for state in scope.states), (FULL, 0)]:
        path = root / (layout.results(arm, state) if state else layout.FULL)
        part = read_parquet(path, columns)
        require(set(part["arm"]) == {arm}, f"{path}: must hold only arm {arm}", sorted(set(part["arm"])))
        networks = sorted(set(part["network"]))
        require(networks == sorted(scope.networks), f"{path}: must hold the networks of params.yaml", networks)
        twice = part[part.duplicated(["network", "seed"])]["seed"].tolist()
        require(not twice, f"{path}: must hold each network and seed once", twice)
        inside = part[shares].apply(lambda column: column.between(0, 1)).all(axis=None)
        require(bool(inside), f"{path}: accuracies must be in [0, 1]", part["test"].tolist())
        prefix = sorted(set(part["prefix_ipc"]))
        sizes.setdefault(state, prefix[0])
        require(prefix == [sizes[state]], f"{path}: prefix_ipc must be {sizes[state]} as for the other arms", prefix)
        parts.append(part.assign(set=fingerprint(root / layout.distilled(arm, state)) if state else ""))
    results = pd.concat(parts, ignore_index=True)
    return results.assign(**{name: 100 * results[name] for name in shares})


def read_ledger(root: Path, params: Mapping[str, Any], scope: Scope) -> pd.DataFrame:
    """Read what every stage cost: what the arms share first (arm ""), then arm by arm, in order of stage and number.

    Entries of no stage of the study are left by another one, or by it when it was another, and passed over; so are
    those of stages that had nothing to do.
    """
    places = ("", *scope.arms, FULL)
    outs = [
        root / out
        for stage in stages(params, root / "dvc.yaml")
        for out in stage.outs
        if layout.LEDGER in Path(out).parents
    ]
    rows = [row for row in map(_entry, filter(Path.exists, outs)) if row["arm"] in places and not row["passed"]]
    require(bool(rows), f"{root / layout.LEDGER}: must hold the cost of every stage", "no *.json")
    rows.sort(key=lambda row: (places.index(row["arm"]), row["stage"], row["number"], row["name"]))
    return pd.DataFrame(rows)


def _entry(path: Path) -> dict[str, Any]:
    keys = ("stage", "name", "seconds", "device", "peak_memory_mb", "forward_images", "backward_images", "flops")
    try:
        entry = json.loads(path.read_text())
        row = {key: entry[key] for key in keys}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: must be a ledger entry, got {error!r}") from error
    number = re.search(r"\d+$", str(row["name"]))
    return {
        **row,
        "arm": entry.get("arm", ""),
        "number": int(number[0]) if number else -1,
        "distances": entry.get("distances") or [],
        "taken_from": entry.get("taken_from", ""),
        "done": (entry.get("work", path.stem), entry.get("origin", path.stem)),
        "passed": entry.get("passed", False),
    }
