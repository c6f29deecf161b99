"""What all reports there are say in short, study by study, from the tables that they have written."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from pipeline import params
from pipeline.names import FULL
from pipeline.reporting import rows

_SETUP = re.compile(r"(?:Put|Switch) [^.]*(?:\.[^.\s][^.]*)*\.\s*")  # "Put train.parquet into data/cifar10."
_BOTH: dict[str, type] = {"network": str, "arm": str, "prefix_ipc": int, "validation_mean": float, "n": int}
_KEYS = ["network", "arm", "prefix_ipc"]


@final
@dataclass(frozen=True, kw_only=True)
class Entry:
    """One study with a report.

    Attributes:
        name: of the study, and of its folder.
        asks: what, in the words that its parameters begin with, cut at the backticks: every second part is code.
        data: name of the data set.
        network: the one distilled with, on which the numbers below are.
        sizes: images per class at which its arms were judged.
        arms: how many there are.
        roots: root seeds that it was done from, 1 at least.
        winners: arms that validation images prefer at the largest size.
        test: accuracy of the first of them on test images, in %, a mean over the root seeds.
        full: that of all real images.
        files: of the report that there are.
    """

    name: str
    asks: tuple[str, ...]
    data: str
    network: str
    sizes: tuple[int, ...]
    arms: int
    roots: int
    winners: tuple[str, ...]
    test: float
    full: float
    files: frozenset[str]


def entries(root: Path) -> list[Entry]:
    """Read every study that has a report, data set by data set, the one in force and its kin first.

    Raises:
        ConfigError: a report without its parameters, or a table that is none.
    """
    first = str(params.value(params.read(root / "params.yaml"), "study"))
    folders = sorted(page.parent for page in (root / "reports").glob("*/index.html"))
    found = [_entry(folder, params.of_study(folder.name, root)) for folder in folders]
    mine = next((entry.data for entry in found if entry.name == first), "")
    return sorted(found, key=lambda entry: (entry.data != mine, entry.data, entry.name != first, entry.name))


def _entry(folder: Path, source: Path) -> Entry:
    study = params.read(source)
    several = (folder / "roots.csv").is_file()
    file, test = ("roots.csv", "test_mean") if several else ("table.csv", "mean")
    table = rows.read(folder / file, file, _KEYS, {**_BOTH, test: float})
    here = table[table["network"] == table["network"].iloc[0]]
    sets = here[here["arm"] != FULL]
    largest = sets[sets["prefix_ipc"] == sets["prefix_ipc"].max()]
    best = largest[largest["validation_mean"] == largest["validation_mean"].max()]
    return Entry(
        name=folder.name,
        asks=tuple(asks(source.read_text(encoding="utf-8")).split("`")),
        data=_data(params.value(study, "data")),
        network=str(table["network"].iloc[0]),
        sizes=tuple(sorted({*sets["prefix_ipc"].tolist()})),
        arms=sets["arm"].nunique(),
        roots=int(table["n"].max()) if several else 1,
        winners=tuple(best["arm"]),
        test=float(best[test].iloc[0]),
        full=float(here[here["arm"] == FULL][test].iloc[0]),
        files=frozenset(file.name for file in folder.iterdir()),
    )


def asks(text: str) -> str:
    """Return the first paragraph of comments that parameters begin with, without what to put where."""
    lines: list[str] = []
    for line in text.splitlines():
        said = line.removeprefix("#").strip()
        if not line.startswith("#") or (lines and not said):
            break
        lines.append(said)
    return _SETUP.sub("", " ".join(lines)).strip()


def _data(about: Mapping[str, Any]) -> str:
    if isinstance(about.get("of"), Mapping):
        return f"{about['name']} {_data(about['of'])}"
    return Path(str(about["root"])).name if about["name"] in ("parquet", "image_folder") else str(about["name"])
