"""Read a distilled set from any form it is kept in. Every form is verified: content, and order of the segments."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dasm.distilled import DistilledSet, described
from dasm.errors import ConfigError, require
from dasm.export import DESCRIPTION, PARQUET, image_names
from dasm.images.png import from_png
from dasm.storage.lineage import FIELDS, Lineage, naming, verify
from dasm.storage.parquet import read_table
from dasm.tables import read_chain, segment_files, segment_of
from dasm.types import Segment

_FOREIGN = "not a set that DASM wrote; to judge it beside others: docs/running.md"


def load(path: str | os.PathLike[str], prefix_ipc: int | None = None, labels: str = "auto") -> DistilledSet:
    """Read a distilled set.

    Args:
        path: a folder that `python -m pipeline export` wrote, or one of the three forms in it (`*.parquet`,
            `*.safetensors`, `images`); or a state of an arm (`data/distilled/<arm>/<n>`).
        prefix_ipc: stored images per class of the prefix wanted; all there are by default. Prefixes are whole segments.
        labels: `auto`, `hard` or `soft`: what items come with beside the image (`DistilledSet`).

    Raises:
        ConfigError: no such set, damage, segments of different sets, a prefix that is no union of segments, or soft
            labels wanted of a set that stores none.
    """
    path = Path(path)
    links = _links(path)
    with naming(path):
        segments, provenance = zip(*links, strict=True)
        found = DistilledSet(segments=segments, provenance=provenance, labels=labels)
        return found if prefix_ipc is None else found.prefix(prefix_ipc)


def _links(path: Path) -> Lineage:
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder")
    if path.is_dir():
        if (path / PARQUET).exists():
            return _from_parquet(path / PARQUET)
        if (path / DESCRIPTION).exists():
            return _from_images(path)
        if files := segment_files(path):
            return read_chain(files)
        raise ConfigError(f"{path}: must hold a distilled set ({PARQUET}, {DESCRIPTION} or s0.parquet), got none of it")
    readers = {".parquet": _from_parquet, ".safetensors": _from_safetensors}
    if path.suffix not in readers:
        raise ConfigError(f"{path}: must be a folder, *.parquet or *.safetensors, got {path.suffix!r} ({_FOREIGN})")
    return readers[path.suffix](path)


def _from_parquet(path: Path) -> Lineage:
    table, meta = read_table(path, "set/1", "segment/2")
    if "segments" not in meta:
        return read_chain([path])
    with naming(path):
        links, numbers = [], table["segment"].to_pylist()
        for plain, provenance in described(meta):
            rows = table.slice(numbers.index(plain["index"]), numbers.count(plain["index"]))
            # Columns that other segments have, and this one has not.
            rows = rows.select([name for name in rows.column_names if rows[name].null_count < len(rows)])
            links.append((segment_of(rows, plain), provenance))
        return _verified(links, len(table))


def _from_safetensors(path: Path) -> Lineage:
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("dasm", "{}")
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path}: must be a readable safetensors file ({error})") from error
    with naming(path):
        description = _parsed(text, "tensors/1")
        links, start = [], 0
        for k, (plain, provenance) in enumerate(described(description)):
            own = {name: tensors[f"{name}.{k}"] for name in FIELDS if f"{name}.{k}" in tensors}
            rows = slice(start, start := start + len(own["sources"]))
            joined = {name: tensors[name][rows].clone() for name in ("images", "labels")}
            values: dict[str, Any] = {**plain, **own, **joined}
            links.append((Segment(**values), provenance))
        return _verified(links, len(tensors["images"]))


def _from_images(folder: Path) -> Lineage:
    with naming(folder / DESCRIPTION):
        description = _parsed((folder / DESCRIPTION).read_text(), "images/1")
        found = []
        for plain, provenance in described(description):
            lists = [name for name, value in plain.items() if isinstance(value, list)]
            values = {**plain, **{name: torch.tensor(plain[name]) for name in lists}}
            # Computed, never read: no description leads out of the folder.
            names = image_names(values["index"], values["labels"], provenance["class_names"])
            found.append((names, values, provenance))
    images = [_stacked([folder / name for name in names]) for names, _, _ in found]
    with naming(folder):
        links = [(Segment(images=own, **found[k][1]), found[k][2]) for k, own in enumerate(images)]
        return _verified(links, sum(len(own) for own in images))


def _stacked(files: Sequence[Path]) -> UInt8[Tensor, "n c h w"]:
    images = []
    for file in files:
        with naming(file):
            if not file.is_file():
                raise ConfigError("no such file")
            images.append(from_png(file.read_bytes()))
            require(images[-1].shape == images[0].shape, "must be as large as the other images", [*images[-1].shape])
    return torch.stack(images)


def _parsed(text: str, schema: str) -> Mapping[str, Any]:
    description: Mapping[str, Any] = json.loads(text)
    require(description.get("schema") == schema, f"must have schema {schema}", description.get("schema"), _FOREIGN)
    return description


def _verified(links: Lineage, count: int) -> Lineage:
    described_images = sum(len(segment.labels) for segment, _ in links)
    require(count == described_images, f"must hold {described_images} images", count)
    verify((f"segment {segment.index}", segment, provenance) for segment, provenance in links)
    return links
