"""The figures of the report: accuracy over size, how difficulty moves, the objective over iterations."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from pipeline.names import FULL
from pipeline.reporting.drawing import INK, MARKERS, MUTED, RULE, SERIES, STYLE, panels
from pipeline.reporting.scope import Scope
from pipeline.reporting.sparks import chunked

# 0.001 and 100 on a log axis, never powers of ten.
_PLAIN = FuncFormatter(lambda value, _: f"{value:g}")


def accuracy(table: pd.DataFrame, scope: Scope, networks: Sequence[str]) -> Figure:
    """Draw Figure 1: test accuracy over images per class, mean and a band of one std, a panel per network."""
    with mpl.rc_context(STYLE):
        figure, axes = panels(len(networks), 3.1)
        for ax, network in zip(axes, networks, strict=True):
            rows = table[table["network"] == network]
            ticks = sorted({*rows["prefix_ipc"]} - {0})
            ends: list[tuple[float, str, str]] = []
            for i, arm in enumerate(scope.arms):
                line = rows[rows["arm"] == arm]
                x, mean, std = (line[name].to_numpy(float) for name in ("prefix_ipc", "mean", "std"))
                colour = SERIES[i % len(SERIES)]
                ax.fill_between(x, mean - std, mean + std, color=colour, alpha=0.13, linewidth=0)
                width = 2.2 if i == 0 else 1.3
                ax.plot(x, mean, color=colour, marker=MARKERS[i % 8], markersize=4, linewidth=width, zorder=9 - i / 9)
                ends.append((float(mean[-1]), arm, colour))
            full = float(rows[rows["arm"] == FULL]["mean"].iloc[0])
            ax.hlines(full, ticks[0], ticks[-1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
            _label_ends(ax, ticks[-1], [*ends, (full, "all real data", MUTED)])
            if ticks[-1] > 8 * ticks[0]:
                ax.set_xscale("log")
            ax.xaxis.set_minor_locator(NullLocator())
            ax.set_xticks(ticks, [str(tick) for tick in ticks])
            title = network if network == scope.networks[0] else f"{network} (unseen)"
            ax.set(xlabel="stored images per class", ylabel="test accuracy, %", title=title)
        return figure


def difficulty(arms: Mapping[str, Sequence[pd.DataFrame]], segments: int) -> Figure:
    """Draw how the scores of all real images move from state to state, and which part the next window holds."""
    with mpl.rc_context(STYLE), mpl.rc_context({"axes.grid": False, "axes.spines.left": False}):
        figure, axes = panels(len(arms), 0.9 + 0.55 * max(map(len, arms.values())))
        for ax, (arm, states) in zip(axes, arms.items(), strict=True):
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
            ax.set_title("blue: in the next window", loc="right", fontsize=8, color=MUTED)
            ax.set_yticks(-np.arange(len(states)), [f"state {n}" for n in range(len(states))])
            ax.set(xlabel=f"difficulty score{', log scale' * logarithmic}", title=arm, xlim=(edges[0], edges[-1]))
        return figure


def strata(arms: Mapping[str, pd.DataFrame], size: int) -> Figure:
    """Draw how hard the real images nearest to each segment are, over the stored images per class, a line per arm."""
    with mpl.rc_context(STYLE):
        figure, (ax,) = panels(1, 2.9)
        ends: list[tuple[float, str, str]] = []
        for i, (arm, rows) in enumerate(arms.items()):
            colour = SERIES[i % len(SERIES)]
            images = rows["images"].cumsum().to_numpy(float)
            edges = size * np.array([0.0, *images]) / images[-1]
            height = rows["difficulty"].to_numpy(float)
            width = 2.2 if i == 0 else 1.3
            ax.stairs(height, edges, baseline=None, color=colour, linewidth=width, zorder=9 - i / 9)
            ends.append((float(height[-1]), arm, colour))
        _label_ends(ax, size, ends)
        title, xlabel = "difficulty of the segments", "stored images per class, in the order of the segments"
        ax.set(xlabel=xlabel, ylabel="rank of the nearest real images", title=title, xlim=(0, size))
        return figure


def distances(arm: str, curves: Mapping[str, Sequence[float]]) -> Figure:
    """Draw the matching distance over the iterations of each segment of one arm, in at most 200 means per curve."""
    with mpl.rc_context(STYLE):
        figure, (ax,) = panels(1, 2.3)
        shades = mpl.colormaps["viridis"](np.linspace(0.3, 0.8, len(curves)))
        for (name, values), shade in zip(curves.items(), shades, strict=True):
            ax.plot(*chunked(values, 200), color=shade, linewidth=1.2, label=name)
        ax.legend(frameon=False, loc="upper right", fontsize=8, labelcolor=MUTED, handlelength=1.2)
        ax.set(xlabel="iteration", ylabel="distance", title=arm)
        return figure


def _ridge(ax: Axes, state: pd.DataFrame, base: int, edges: np.ndarray, window: bool) -> None:
    scores = state["score"].to_numpy(float).clip(edges[0], edges[-1])
    inside = state["weight"].to_numpy() > 0
    tallest = max(1, np.histogram(scores, edges)[0].max())
    for chosen, colour in [(scores, RULE), (scores[inside], SERIES[0])][: 1 + window]:
        height = 0.8 * np.histogram(chosen, edges)[0] / tallest
        alpha = 1 if colour == RULE else 0.55
        ax.stairs(base + height, edges, baseline=base, fill=True, color=colour, alpha=alpha)
    ax.plot([np.median(scores)] * 2, [base, base + 0.8], color=INK, linewidth=1)
    ax.plot(state["score"].mean(), base, "o", color=MUTED, markersize=4, clip_on=False)
    if window and inside.any():
        ax.plot(state["score"][inside].mean(), base, "D", color=SERIES[0], markersize=4.5, clip_on=False)
    right = f"{100 * state['right'].mean():.0f} % right"
    ax.annotate(right, (1, base), (4, 2), xycoords=("axes fraction", "data"), textcoords="offset points", color=MUTED)


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
