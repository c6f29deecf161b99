"""What the report reads: results, difficulty tables, the ledger. Accuracies come out in percent.

Parquet is read without `dasm.tables`, so that a report costs no import of torch.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import pandas as pd
import pyarrow as pa

from dasm.errors import ConfigError, require
from pipeline import layout, methods, params

FULL = "full"


@final
@dataclass(frozen=True, kw_only=True)
class Scope:
    """What a study compares.

    Attributes:
        name: of the study.
        scored: arms with windows; every other arm is compared with the first of them.
        controls: arms distilled without scores.
        joint: those controls that distil every prefix anew.
        coresets: arms of real images.
        networks: the first one is distilled with, the others are unseen.
        segments: number of segments of a whole set.
        states: number of segments of every prefix that is benchmarked, ascending.
        scores: number of segments at every state that is scored, 0 first.
    """

    name: str
    scored: tuple[str, ...]
    controls: tuple[str, ...]
    joint: tuple[str, ...]
    coresets: tuple[str, ...]
    networks: tuple[str, ...]
    segments: int
    states: tuple[int, ...]
    scores: tuple[int, ...]

    @classmethod
    def of(cls, study: Mapping[str, Any]) -> "Scope":
        """Read the parameters of a study."""
        known = dict(study)
        found = {key: params.value(known, key) for key in ("study", "arms", "controls", "coresets", "chain", "rescore")}
        for key in ("arms", "chain"):
            require(bool(found[key]), f"params.yaml: {key} must name at least one", found[key])
        controls = tuple(found["controls"] or ())
        networks = params.value(known, "benchmark.networks")
        return cls(
            name=str(found["study"]),
            scored=tuple(found["arms"]),
            controls=controls,
            joint=tuple(arm for arm in controls if methods.is_joint(known, arm)),
            coresets=tuple(found["coresets"] or ()),
            networks=tuple(network if isinstance(network, str) else network["name"] for network in networks),
            segments=len(found["chain"]),
            states=tuple(sorted(params.value(known, "benchmark.states"))),
            scores=(0, *(link["next"] for link in found["rescore"])),
        )

    @property
    def arms(self) -> tuple[str, ...]:
        """Every arm, in the order of the tables."""
        return self.scored + self.controls + self.coresets


def read_parquet(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read some columns of a Parquet file.

    Raises:
        ConfigError: no such file, not Parquet, a column missing, or no rows.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: must exist, got no such file (`dvc repro` makes it)")
    try:
        frame = pd.read_parquet(path, engine="pyarrow")
    except (pa.ArrowInvalid, OSError) as error:
        raise ConfigError(f"{path}: must be readable Parquet, got: {str(error).splitlines()[0]}") from error
    missing = sorted({*columns} - {*frame.columns})
    require(not missing, f"{path}: must have the columns {', '.join(columns)}", sorted(map(str, frame.columns)))
    require(len(frame) > 0, f"{path}: must have rows", 0)
    return frame[list(columns)]


def read_results(root: Path, scope: Scope) -> pd.DataFrame:
    """Read the benchmark of every prefix of every arm and of the full set: a row per network trained."""
    columns = ["arm", "prefix_ipc", "network", "seed", "validation", "test", "torch_version", "device"]
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
        inside = part[["validation", "test"]].apply(lambda column: column.between(0, 1)).all(axis=None)
        require(bool(inside), f"{path}: accuracies must be in [0, 1]", part["test"].tolist())
        prefix = sorted(set(part["prefix_ipc"]))
        sizes.setdefault(state, prefix[0])
        require(prefix == [sizes[state]], f"{path}: prefix_ipc must be {sizes[state]} as for the other arms", prefix)
        parts.append(part)
    results = pd.concat(parts, ignore_index=True)
    return results.assign(**{name: 100 * results[name] for name in ("validation", "test")})


def read_ledger(root: Path, scope: Scope) -> pd.DataFrame:
    """Read what every stage cost: what the arms share first (arm ""), then arm by arm, in order of stage and number.

    Entries of arms that the study does not have are left by another one, and passed over.
    """
    folder = root / "data/ledger"
    places = ("", *scope.arms, FULL)
    rows = [row for row in (_entry(path, places) for path in folder.glob("*.json")) if row["arm"] in places]
    require(bool(rows), f"{folder}: must hold the cost of every stage", "no *.json")
    rows.sort(key=lambda row: (places.index(row["arm"]), row["stage"], row["number"], row["name"]))
    return pd.DataFrame(rows)


def _entry(path: Path, arms: Sequence[str]) -> dict[str, Any]:
    keys = ("stage", "name", "seconds", "device", "peak_memory_mb", "forward_images", "backward_images")
    try:
        entry = json.loads(path.read_text())
        row = {key: entry[key] for key in keys}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: must be a ledger entry, got {error!r}") from error
    item = str(row["name"]).partition("@")[2]
    named = [arm for arm in arms if item == arm or item.startswith(f"{arm}-")]
    number = re.search(r"\d+$", str(row["name"]))
    return {
        **row,
        "arm": entry.get("arm") or max(named, key=len, default=""),
        "number": int(number[0]) if number else -1,
        "distances": entry.get("distances") or [],
    }
