r"""`python -m pipeline latex [STUDY]`: the tables of a report for a paper, `reports/<study>/table.tex`.

Without a study, those of every report there is. They need `\usepackage{booktabs}`. Numbers are those of table.csv and,
of a study from several root seeds, of roots.csv and roots-paired.csv; a report need not be made again for them.
"""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dasm.errors import require
from pipeline import params
from pipeline.names import FULL, NAME_RULE, is_name
from pipeline.reporting import rows
from pipeline.reporting.terms import terms

_KEYS = ["network", "arm", "prefix_ipc"]
_TABLE: dict[str, type] = {"network": str, "arm": str, "prefix_ipc": int, "mean": float, "std": float, "n": int}
_ROOTS: dict[str, type] = {
    "network": str,
    "arm": str,
    "prefix_ipc": int,
    "test_mean": float,
    "test_std": float,
    "n": int,
}
_PAIRS = ["network", "prefix_ipc", "split", "arm", "minus"]
_GAPS: dict[str, type] = {
    **{"network": str, "arm": str, "minus": str, "prefix_ipc": int},
    **{"mean": float, "lower": float, "upper": float, "same": bool},
}


def main(study: str | None = None) -> None:
    """Write `table.tex` beside a report's other tables.

    Args:
        study: with a report; every one that has any if none is named.

    Raises:
        ConfigError: no such report, or tables that are none.
    """
    reports = Path("reports")
    if study is not None:
        require(is_name(study), f"latex: a study's name must be {NAME_RULE}", study)
    found = sorted(table.parent for table in reports.glob(f"{study or '*'}/table.csv"))
    require(bool(found), "latex: must be given a study that has a report (`dvc repro` writes one)", study)
    for folder in found:
        text = tables(folder, terms(params.read(params.of_study(folder.name))))
        (folder / "table.tex").write_text(text, encoding="utf-8")
        print(folder / "table.tex")


def tables(folder: Path, said: str = "") -> str:
    """Return the tables of one report.

    Args:
        folder: of the report, called as its study is.
        said: what is unusual about how sets were judged, for every caption.

    Raises:
        ConfigError: tables that are none.
    """
    name = folder.name
    parts = [_accuracy(rows.read(folder / "table.csv", "table.csv", _KEYS, _TABLE), name, said)]
    if (folder / "roots.csv").is_file():
        means = rows.read(folder / "roots.csv", "roots.csv", _KEYS, _ROOTS)
        gaps = rows.read(folder / "roots-paired.csv", "roots-paired.csv", _PAIRS, _GAPS)
        tested, reference = gaps[gaps["split"] == "test"], str(means["arm"].iloc[0])
        parts.append(_accuracy(means.rename(columns={"test_mean": "mean", "test_std": "std"}), name, said, roots=True))
        parts.append(_differences(tested, reference, int(means["n"].max()), name, said))
    return "\n".join(["% \\usepackage{booktabs}", *parts])


def _accuracy(table: pd.DataFrame, name: str, said: str, *, roots: bool = False) -> str:
    peers = table[table["arm"] != FULL]
    top = peers.groupby(["network", "prefix_ipc"])["mean"].transform("max").reindex(table.index)
    # Of arms that hold one and the same set none is best.
    alone = table.groupby(["network", "prefix_ipc", "mean"])["arm"].transform("size") == 1
    best = (table["mean"] == top) & alone & (table["arm"] != FULL)
    shown = table.assign(cell=[_cell(*row) for row in zip(table["mean"], table["std"], best, strict=True)])
    over = f"{table['n'].max()} {'root seeds, distillation included' if roots else 'trainings of one set per row'}"
    caption = rf"{_escaped(name)}: test accuracy in \%, mean $\pm$ std over {over}, by stored images per class."
    return _tables(shown, f"{caption} Best in bold. {said}".strip(), f"tab:{name}{'-roots' * roots}")


def _differences(gaps: pd.DataFrame, reference: str, roots: int, name: str, said: str) -> str:
    ours = gaps[gaps["arm"] == reference]
    shown = ours.assign(arm=ours["minus"], cell=[_gap(row) for row in ours.to_dict("records")])
    caption = (
        rf"{_escaped(name)}: {_escaped(reference)} minus every other arm, points of test accuracy, paired over {roots}"
        r" root seeds, with 95\,\% intervals, by stored images per class. Bold: the interval excludes zero."
    )
    return _tables(shown, f"{caption} {said}".strip(), f"tab:{name}-differences")


def _tables(shown: pd.DataFrame, caption: str, label: str) -> str:
    """Return one table: a row per arm, a column per size, network under network."""
    sizes = sorted({*shown["prefix_ipc"]} - {0})
    lines, seen = [], shown["network"].iloc[0]
    for network, here in shown.groupby("network", sort=False):
        for arm, cells in here.groupby("arm", sort=False):
            row = cells.set_index("prefix_ipc")["cell"]
            named = "all real data" if arm == FULL else _escaped(str(arm))
            # The full set has one number whatever the size, said as size 0.
            lines.append(
                [
                    f"{_escaped(str(network))}{'' if network == seen else ' (unseen)'}",
                    named,
                    *(row.get(0, row.get(size, "--")) for size in sizes),
                ]
            )
    frame = pd.DataFrame(lines, columns=["network", "arm", *map(str, sizes)])
    frame["network"] = frame["network"].mask(frame["network"].duplicated(), "")
    text = frame.to_latex(
        index=False, caption=caption, label=label, position="t", column_format="ll" + "r" * len(sizes), escape=False
    )
    return text.replace("\\begin{table}[t]\n", "\\begin{table}[t]\n\\centering\n", 1)


def _cell(mean: float, std: float, best: bool) -> str:
    number = rf"\textbf{{{mean:.1f}}}" if best else f"{mean:.1f}"
    return number if pd.isna(std) else rf"{number} $\pm$ {std:.1f}"


def _gap(row: Mapping[Hashable, Any]) -> str:
    if row["same"]:
        return "same set"
    mean, told = f"{row['mean']:+z.1f}", (row["lower"] > 0 or row["upper"] < 0) and row["lower"] < row["upper"]
    shown = rf"\mathbf{{{mean}}}" if told else mean
    return f"${shown}$ (${row['lower']:+z.1f}$ to ${row['upper']:+z.1f}$)"


def _escaped(name: str) -> str:
    return name.replace("_", r"\_")
