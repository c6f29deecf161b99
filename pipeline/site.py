"""`python -m pipeline site`: one page over all reports, `reports/index.html`."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from dasm.errors import require
from pipeline.reporting.overview import Entry, entries
from pipeline.reporting.page import render


def main() -> None:
    """Write `reports/index.html`: every study with a report, what it asks, who is ahead, and the way to its page.

    Raises:
        ConfigError: no report yet, or one whose tables or parameters cannot be read.
    """
    found = entries(Path())
    require(bool(found), "site: reports must hold one report at least (`dvc repro` writes one)", len(found))
    written = Path("reports/index.html")
    written.write_text(page(found), encoding="utf-8")
    print(f"{len(found)} {'study' if len(found) == 1 else 'studies'}: {written}")


def page(found: Sequence[Entry]) -> str:
    """Return the page over some studies, in their order; those of a data set follow each other."""
    groups = [(data, list(members)) for data, members in groupby(found, lambda entry: entry.data)]
    return render("overview.html", {"entries": found, "groups": groups})
