"""The figures of the report, drawn once and saved twice: SVG that follows the page's colours, PNG for everyone else."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from pipeline.artefacts import FULL, Scope

# Okabe and Ito's colours, darkened until they are also readable as text on white. The page has lighter ones at night.
SERIES = ("#0a66b2", "#c2500a", "#00795c", "#a8447f", "#8a6d00", "#2f8fb8", "#6d5bb5", "#7a4a2b")
_INK, _MUTED, _RULE = "#1f2328", "#646d78", "#dde1e6"
_VARIABLES = {colour: f"var(--s{i})" for i, colour in enumerate(SERIES)}
_VARIABLES |= {_INK: "currentColor", _MUTED: "var(--muted)", _RULE: "var(--rule)"}
_MARKERS = "os^Dv<>p"
# Any, because rc_context of matplotlib 3.11 has a type of its own for keys, which 3.9 has not.
_STYLE: Any = {
    "font.size": 9,
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so widths are the same everywhere
    "svg.fonttype": "none",
    "text.color": _INK,
    "axes.titlecolor": _INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "grid.linewidth": 0.6,
    **{f"{axis}tick.{what}": 0 for axis in "xy" for what in ("major.size", "minor.size")},
    **{f"{axis}tick.color": _MUTED for axis in "xy"},
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
}
# 0.001 and 100 on a log axis, never powers of ten.
_PLAIN = FuncFormatter(lambda value, _: f"{value:g}")


def accuracy(table: pd.DataFrame, scope: Scope, networks: Sequence[str]) -> Figure:
    """Draw Figure 1: test accuracy over images per class, mean and a band of one std, a panel per network."""
    with mpl.rc_context(_STYLE):
        figure, panels = _panels(len(networks), 3.1)
        for ax, network in zip(panels, networks, strict=True):
            rows = table[table["network"] == network]
            ticks = sorted({*rows["prefix_ipc"]} - {0})
            ends: list[tuple[float, str, str]] = []
            for i, arm in enumerate(scope.arms):
                line = rows[rows["arm"] == arm]
                x, mean, std = (line[name].to_numpy(float) for name in ("prefix_ipc", "mean", "std"))
                colour = SERIES[i % len(SERIES)]
                ax.fill_between(x, mean - std, mean + std, color=colour, alpha=0.13, linewidth=0)
                width = 2.2 if i == 0 else 1.3
                ax.plot(x, mean, color=colour, marker=_MARKERS[i % 8], markersize=4, linewidth=width, zorder=9 - i / 9)
                ends.append((float(mean[-1]), arm, colour))
            full = float(rows[rows["arm"] == FULL]["mean"].iloc[0])
            ax.hlines(full, ticks[0], ticks[-1], color=_MUTED, linewidth=1, linestyle=(0, (4, 3)))
            _label_ends(ax, ticks[-1], [*ends, (full, "all real data", _MUTED)])
            if ticks[-1] > 8 * ticks[0]:
                ax.set_xscale("log")
            ax.xaxis.set_minor_locator(NullLocator())
            ax.set_xticks(ticks, [str(tick) for tick in ticks])
            title = network if network == scope.networks[0] else f"{network} (unseen)"
            ax.set(xlabel="stored images per class", ylabel="test accuracy, %", title=title)
        return figure


def difficulty(arms: Mapping[str, Sequence[pd.DataFrame]], segments: int) -> Figure:
    """Draw how the scores of all real images move from state to state, and which part the next window holds."""
    with mpl.rc_context(_STYLE), mpl.rc_context({"axes.grid": False, "axes.spines.left": False}):
        figure, panels = _panels(len(arms), 0.9 + 0.55 * max(map(len, arms.values())))
        for ax, (arm, states) in zip(panels, arms.items(), strict=True):
            tails = np.array([state["score"].quantile([0.005, 0.995]) for state in states])
            low, high = tails[:, 0].min(), tails[:, 1].max()
            logarithmic = bool(low > 0 and high / low > 50)
            low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
            edges = np.geomspace(low, high, 49) if logarithmic else np.linspace(low, high, 49)
            for n, state in enumerate(states):
                _ridge(ax, state, -n, edges, window=n < segments)
            if logarithmic:
                ax.set_xscale("log")
                ax.xaxis.set_minor_formatter(NullFormatter())
            ax.xaxis.set_major_formatter(_PLAIN)
            ax.set_title("blue: in the next window", loc="right", fontsize=8, color=_MUTED)
            ax.set_yticks(-np.arange(len(states)), [f"state {n}" for n in range(len(states))])
            ax.set(xlabel=f"difficulty score{', log scale' * logarithmic}", title=arm, xlim=(edges[0], edges[-1]))
        return figure


def distances(arm: str, curves: Mapping[str, Sequence[float]]) -> Figure:
    """Draw the matching distance over the iterations of each segment of one arm, in at most 200 means per curve."""
    with mpl.rc_context(_STYLE):
        figure, (ax,) = _panels(1, 2.3)
        shades = mpl.colormaps["viridis"](np.linspace(0.3, 0.8, len(curves)))
        for (name, values), shade in zip(curves.items(), shades, strict=True):
            chunks = np.array_split(np.asarray(values, float), min(len(values), 200))
            x = np.cumsum([len(chunk) for chunk in chunks])
            y = [chunk.mean() for chunk in chunks]
            ax.plot(x, y, color=shade, linewidth=1.2, label=name)
        ax.legend(frameon=False, loc="upper right", fontsize=8, labelcolor=_MUTED, handlelength=1.2)
        ax.set(xlabel="iteration", ylabel="distance", title=arm)
        return figure


def svg(figure: Figure, name: str) -> str:
    """Return a figure as an inline SVG: no name space, no address, no size; colours are variables of the page."""
    buffer = io.StringIO()
    # The salt names the figure, so that definitions of two figures on one page cannot be taken for each other.
    with mpl.rc_context(_STYLE), mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True)
    text = buffer.getvalue()
    # The metadata hold the date. The style sheet would hold for the whole page, whose own says the same of figures.
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text[text.index("<svg") :], flags=re.DOTALL)
    head, body = text.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    body = re.sub(r' id="[A-Za-z0-9.]+(_[0-9]+)+"', "", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    return f'<svg {box[0] if box else ""} role="img" aria-label="{name}">{body}'


def png(figure: Figure) -> bytes:
    """Return a figure as PNG on white."""
    buffer = io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(4.3 * count, height))
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def _ridge(ax: Axes, state: pd.DataFrame, base: int, edges: np.ndarray, window: bool) -> None:
    scores = state["score"].to_numpy(float).clip(edges[0], edges[-1])
    inside = state["weight"].to_numpy() > 0
    tallest = max(1, np.histogram(scores, edges)[0].max())
    for chosen, colour in [(scores, _RULE), (scores[inside], SERIES[0])][: 1 + window]:
        height = 0.8 * np.histogram(chosen, edges)[0] / tallest
        alpha = 1 if colour == _RULE else 0.55
        ax.stairs(base + height, edges, baseline=base, fill=True, color=colour, alpha=alpha)
    ax.plot([np.median(scores)] * 2, [base, base + 0.8], color=_INK, linewidth=1)
    ax.plot(state["score"].mean(), base, "o", color=_MUTED, markersize=4, clip_on=False)
    if window and inside.any():
        ax.plot(state["score"][inside].mean(), base, "D", color=SERIES[0], markersize=4.5, clip_on=False)
    right = f"{100 * state['right'].mean():.0f} % right"
    ax.annotate(right, (1, base), (4, 2), xycoords=("axes fraction", "data"), textcoords="offset points", color=_MUTED)


def _label_ends(ax: Axes, x: float, ends: Sequence[tuple[float, str, str]]) -> None:
    # Names at the lines' ends instead of a legend. Neighbours that would overlap push each other apart.
    gap = 0.06 * float(np.diff(ax.get_ylim())[0])
    ends = sorted(ends)
    at = [y for y, *_ in ends]
    for _ in range(50):
        for i in range(len(at) - 1):
            push = max(0.0, gap - (at[i + 1] - at[i])) / 2
            at[i], at[i + 1] = at[i] - push, at[i + 1] + push
    for y, (_, name, colour) in zip(at, ends, strict=True):
        # Not clipped: a name pushed out of the axes must still be read.
        ax.annotate(name, (x, y), (8, 0), textcoords="offset points", va="center", color=colour, annotation_clip=False)
