"""The report of a study: one page that needs nothing else, and the same numbers as CSV, Markdown, JSON and PNG.

Same inputs, same bytes: no date, host, path or commit is written. Only the ledger differs from run to run.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from pipeline import layout
from pipeline.names import FULL
from pipeline.reporting import content, diagnosis, drawing, figures, gallery, summary
from pipeline.reporting.artefacts import read_results, read_states, softly_judged
from pipeline.reporting.contact import contact_sheet
from pipeline.reporting.dots import beyond, dots
from pipeline.reporting.facts import facts
from pipeline.reporting.holdings import holdings
from pipeline.reporting.page import render
from pipeline.reporting.scope import Scope

_LONG = ["network", "arm", "prefix_ipc", "mean", "std", "n", "validation_mean", "ior", "hlr", "lrs"]


def write(root: Path, params: Mapping[str, Any]) -> Path:
    """Write the report of a study to `reports/<study>`.

    Args:
        root: folder that holds params.yaml, `data` and `reports`.
        params: what params.yaml says.

    Returns:
        The folder written.

    Raises:
        ConfigError: an artefact is missing, or not what it should be.
    """
    scope = Scope.of(params)
    results = read_results(root, scope)
    soft = softly_judged(root, params, scope)
    table, paired = summary.table(results, scope, soft), summary.paired(results, scope)
    states, held = read_states(root, scope), holdings(root, scope)
    numbers = content.numbers(params, scope, table, paired)
    standings = content.standings(params, scope, results)
    accuracy = _figure(scope, table, numbers, standings)
    page = {
        **numbers,
        **standings,
        **content.pictures(root, scope, states),
        **content.difficulty(scope, states),
        **diagnosis.diagnosis(root, scope, held, drawn=not numbers["many"]),
        **content.costs(root, params, scope),
        "soft": soft,
        "facts": facts(root, params, results),
        "beyond": any(
            beyond(places, numbers["cells"][network, FULL, 0].mean) for network, places in standings["ranked"].items()
        ),
        "accuracy": {network: drawing.svg(accuracy([network]), _name(numbers, network)) for network in scope.networks},
    }
    folder = root / "reports" / scope.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(render("report.html", page), encoding="utf-8")
    (folder / "table.md").write_text(render("table.md", page), encoding="utf-8")
    table[[*_LONG, *(["unaugmented", "ars"] if scope.unaugmented else [])]].to_csv(
        folder / "table.csv", index=False, float_format="%.4f"
    )
    paired.to_csv(folder / "paired.csv", index=False, float_format="%.4f")
    held.to_csv(folder / "holdings.csv", index=False, float_format="%.4f")
    (folder / "metrics.json").write_text(json.dumps(summary.metrics(table), indent=1) + "\n")
    (folder / "accuracy.png").write_bytes(drawing.png(accuracy(scope.networks)))
    moves = figures.difficulty(content.drawn(scope, states), scope.segments)
    (folder / "difficulty.png").write_bytes(drawing.png(moves))
    names = gallery.Real.read(root).class_names
    sheet = contact_sheet(root / layout.distilled(scope.reference, scope.segments), names, gallery.Most())
    (folder / "images.png").write_bytes(drawing.png(sheet))
    return folder


def _name(numbers: Mapping[str, Any], network: str) -> str:
    """Say what Figure 1 shows, for those who cannot see it."""
    over = "over images per class" if numbers["lines"] else f"at {numbers['prefixes'][-1]} images per class"
    return f"Accuracy of each arm {over}, on the {network}; the numbers are in Table 1"


def _figure(
    scope: Scope, table: pd.DataFrame, numbers: Mapping[str, Any], standings: Mapping[str, Any]
) -> Callable[[Sequence[str]], Figure]:
    """Return what draws Figure 1 of some networks: lines over the size, or dots where there are too many or no size."""

    def draw(networks: Sequence[str]) -> Figure:
        if numbers["lines"]:
            return figures.accuracy(table, scope, networks)
        full = {network: numbers["cells"][network, FULL, 0].mean for network in networks}
        ranked = {network: standings["ranked"][network] for network in networks}
        return dots(ranked, standings["groups"], scope, full)

    return draw
