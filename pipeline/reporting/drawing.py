"""How the figures of the report look, and how they are saved: SVG in the page's colours, PNG for everyone else."""

import html
import io
import re
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's colours, darkened until they are also readable as text on white. The page has lighter ones at night.
SERIES = ("#0a66b2", "#c2500a", "#00795c", "#a8447f", "#8a6d00", "#2f8fb8", "#6d5bb5", "#7a4a2b")
INK, MUTED, RULE = "#1f2328", "#646d78", "#dde1e6"
_VARIABLES = {colour: f"var(--s{i})" for i, colour in enumerate(SERIES)}
_VARIABLES |= {INK: "currentColor", MUTED: "var(--muted)", RULE: "var(--rule)"}
MARKERS = "os^Dv<>p"
# Any, because rc_context of matplotlib 3.11 has a type of its own for keys, which 3.9 has not.
STYLE: Any = {
    "font.size": 9,
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so widths are the same everywhere
    "svg.fonttype": "none",
    "text.color": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    **{f"{axis}tick.{what}": 0 for axis in "xy" for what in ("major.size", "minor.size")},
    **{f"{axis}tick.color": MUTED for axis in "xy"},
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
}


def panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure of so many panels in a row, of so many inches."""
    figure = Figure(figsize=(4.3 * count, height))
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def svg(figure: Figure, name: str) -> str:
    """Return a figure as an inline SVG: no name space, no address, no size; colours are variables of the page.

    Args:
        figure: to be drawn.
        name: what it shows, for those who cannot see it; no other figure of the page may have the same.
    """
    buffer = io.StringIO()
    # The salt names the figure, so that definitions of two figures on one page cannot be taken for each other.
    with mpl.rc_context(STYLE), mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True)
    text = buffer.getvalue()
    # The metadata hold the date. The style sheet would hold for the whole page, whose own says the same of figures.
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text[text.index("<svg") :], flags=re.DOTALL)
    head, body = text.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    body = re.sub(r' id="[A-Za-z0-9.]+(_[0-9]+)+"', "", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    return f'<svg {box[0] if box else ""} role="img" aria-label="{html.escape(name)}">{body}'


def png(figure: Figure) -> bytes:
    """Return a figure as PNG on white."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()
