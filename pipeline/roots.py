"""`python -m pipeline roots FOLDER TABLE TABLE ...`: a study done from several root seeds, as one table.

The trainings behind a row of a report share one distilled set, so their spread says nothing of how much another
distillation would differ. Here every table.csv is a whole study done again, its trainings are averaged first, and the
spread and the intervals are over the root seeds.
"""

from collections.abc import Hashable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from dasm.errors import require
from pipeline.names import FULL
from pipeline.reporting import held, rows
from pipeline.reporting.drawing import png
from pipeline.reporting.forest import forest
from pipeline.reporting.page import render
from pipeline.reporting.ranking import Difference
from pipeline.reporting.summary import PAIRED, against

_KEYS = ["network", "arm", "prefix_ipc"]
_MEANS = ["mean", "validation_mean"]
_TYPES: dict[str, type] = {"network": str, "arm": str, "prefix_ipc": int, **dict.fromkeys(_MEANS, float)}
_SPLITS = ("validation", "test")


def main(folder: str, *tables: str, told_apart: bool = False) -> None:
    """Write `roots.csv`, `roots-paired.csv`, `roots.md` and `roots.png` into a folder.

    Arms that are not in every table are left out; differences are between those that are, at the same root seed. Where
    each table has its `holdings` beside it, `roots-holdings.csv` and `roots-holdings-paired.csv` are written too.

    Args:
        folder: such as reports/<study>.
        tables: the table.csv of the same study's report, one per root seed.
        told_apart: whether they are known to be of different ones; where everything is right, the results are alike.

    Raises:
        ConfigError: fewer than two tables, one that is not a report's, or the same results twice.
    """
    paths = [Path(table) for table in tables]
    results = read(paths, told_apart=told_apart)
    out = Path(folder)
    require(out.is_dir(), "roots: the folder to write to must exist", folder)
    table, paired = summarise(results), differences(results)
    table.to_csv(out / "roots.csv", index=False, float_format="%.4f")
    paired.to_csv(out / "roots-paired.csv", index=False, float_format="%.4f")
    reference = table["arm"].iloc[0]
    ours = paired[paired["arm"] == reference].set_index(["network", "prefix_ipc", "split", "minus"])
    page = {
        "reference": reference,
        "roots": int(table["n"].max()),
        "groups": _groups(table),
        "full_arm": FULL,
        "shared": bool(ours["same"].any()),
        "against": {at: Difference.of(row) for at, row in ours.iterrows()},
        "held": _holdings(out, paths, list(table["arm"].unique())),
    }
    (out / "roots.md").write_text(render("roots.md", page), encoding="utf-8")
    (out / "roots.png").write_bytes(png(forest(paired, reference)))
    print(f"{len(tables)} root seeds, {table['arm'].nunique()} arms: {out / 'roots.md'}")


def _groups(table: pd.DataFrame) -> list[tuple[str, int, list[dict[Hashable, Any]]]]:
    full = table[table["arm"] == FULL]
    return [
        (
            str(network),
            int(str(prefix)),
            pd.concat([here, full[full["network"] == network]]).to_dict("records"),
        )
        for (network, prefix), here in table[table["arm"] != FULL].groupby(_KEYS[::2], sort=False)
    ]


def _holdings(out: Path, tables: Sequence[Path], arms: Sequence[str]) -> dict[str, Any] | None:
    paths = [held.beside(table) for table in tables]
    if not all(path.is_file() and path not in tables for path in paths):
        return None  # tables of another name, that came alone, or of before reports had them
    values = held.read(paths)
    held.summarise(values).to_csv(out / "roots-holdings.csv", index=False, float_format="%.4f")
    held.differences(values).to_csv(out / "roots-holdings-paired.csv", index=False, float_format="%.4f")
    return held.section(values, arms)


def read(tables: Sequence[Path], *, told_apart: bool = False) -> pd.DataFrame:
    """Read reports' tables as rows (network, arm, prefix_ipc, seed, validation, test), `seed` counting the tables."""
    require(len(tables) >= 2, "roots: must be given the table.csv of at least two root seeds", len(tables))
    parts: list[pd.DataFrame] = []
    for number, path in enumerate(tables):
        part = rows.read(path, "table.csv", _KEYS, _TYPES)
        for other, earlier in zip(tables, [] if told_apart else parts, strict=False):
            require(not _same(part, earlier), f"{path}: must be of a root seed of its own", f"the results of {other}")
        parts.append(part.assign(seed=number))
    whole = pd.concat(parts)
    common = whole.groupby(_KEYS, sort=False)["seed"].transform("nunique") == len(tables)
    distilled = bool((common & (whole["arm"] != FULL)).any())
    require(distilled, "roots: the tables must have arms in common", [*map(str, tables)])
    return whole[common].rename(columns={"mean": "test", "validation_mean": "validation"})[[*_KEYS, "seed", *_SPLITS]]


def _same(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    # Of the distilled sets that both have, one of which may have gained an arm since.
    both = one[one["arm"] != FULL].merge(other, on=_KEYS)
    return len(both) > 0 and all((both[f"{name}_x"] == both[f"{name}_y"]).all() for name in _MEANS)


def summarise(results: pd.DataFrame) -> pd.DataFrame:
    """Return mean and sample std over the root seeds, a row per network, arm and prefix."""
    columns = {f"{split}_{name}": (split, name) for split in _SPLITS for name in ("mean", "std")}
    return results.groupby(_KEYS, sort=False).agg(n=("seed", "size"), **columns).reset_index()  # type: ignore[call-overload, no-any-return]


def differences(results: pd.DataFrame) -> pd.DataFrame:
    """Return every arm minus every later one and all real data, paired over the root seeds, with 95 % t-intervals."""
    full = results[results["arm"] == FULL]
    found = []
    for (network, prefix), here in results[results["arm"] != FULL].groupby(["network", "prefix_ipc"], sort=False):
        size = int(str(prefix))
        alike = pd.concat([here, full[full["network"] == network].assign(prefix_ipc=size)])
        found += against(alike, str(network), size, [*combinations(alike["arm"].unique(), 2)], _SPLITS)
    return pd.DataFrame(found, columns=PAIRED)
