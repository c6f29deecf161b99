"""Differences over root seeds, drawn: one row per arm, a mark and its 95 % interval per size of the set."""

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from pipeline.names import FULL
from pipeline.reporting.drawing import INK, MARKERS, MUTED, SERIES, STYLE, panels
from pipeline.reporting.ranking import Difference

# Points of accuracy within which the axis is linear; beyond, arms that are far behind would push the rest together.
_LINEAR = 2
_TICKS = (-20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20, 50)
_GAP = 4  # between two numbers, in pixels


def forest(paired: pd.DataFrame, reference: str) -> Figure:
    """Draw the reference arm minus each other one on test images, a panel per network.

    Args:
        paired: rows (network, prefix_ipc, split, arm, minus, mean, lower, upper, n, same), in points.
        reference: the arm that the others are taken from.
    """
    rows = paired[(paired["arm"] == reference) & (paired["split"] == "test")]
    shared = bool(rows["same"].any())
    rows = rows[~rows["same"]]
    networks, sizes = list(rows["network"].unique()), sorted(rows["prefix_ipc"].unique())
    arms = [arm for arm in paired["minus"].unique() if (rows["minus"] == arm).any()]
    with mpl.rc_context({**STYLE, "axes.grid.axis": "x"}):
        figure, axes = panels(len(networks), 1.1 + 0.12 * len(arms) * (len(sizes) + 1))
        for ax, network in zip(axes, networks, strict=True):
            for i, size in enumerate(sizes):
                here = rows[(rows["network"] == network) & (rows["prefix_ipc"] == size)].set_index("minus")
                for row, arm in enumerate(arms):
                    if arm in here.index:
                        at = row + (i - (len(sizes) - 1) / 2) / (len(sizes) + 1)
                        _mark(ax, here.loc[arm], at, i)
            ax.axvline(0, color=INK, linewidth=1)
            ax.set_xscale("symlog", linthresh=_LINEAR)
            ends = rows[rows["network"] == network]
            low, high = min(-1.0, 1.1 * ends["lower"].min()), max(1.0, 1.1 * ends["upper"].max())
            ax.set_xlim(low, high)
            ax.set_xticks([tick for tick in _TICKS if ax.get_xlim()[0] <= tick <= ax.get_xlim()[1]])
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(
                FuncFormatter(lambda tick, _: f"{tick:+.0f}".replace("-", "\N{MINUS SIGN}") if tick else "0")
            )
            ax.set_yticks(range(len(arms)), ["all real data" if arm == FULL else arm for arm in arms])
            ax.set_ylim(len(arms) - 0.4, -0.6)
            unseen = " (unseen)" * (network != networks[0])
            scale = f"\nlinear to ±{_LINEAR}, logarithmic beyond" if max(-low, high) > _LINEAR else ""
            label = f"{reference} minus this arm, points of test accuracy{scale}"
            ax.set(xlabel=label, title=f"{network}{unseen}")
        handles = [Line2D([], [], color=SERIES[i % 8], marker=MARKERS[i % 8], markersize=4) for i in range(len(sizes))]
        labels = [f"{size} images per class" for size in sizes]
        legend = figure.legend(
            handles, labels, loc="outside lower center", ncols=len(sizes), frameon=False, labelcolor=MUTED
        )
        said = "filled: the 95 % interval excludes zero" + "; no mark: both arms have the same set there" * shared
        legend.set_title(said)
        legend.get_title().set(color=MUTED, fontsize=8)
        figure.draw_without_rendering()
        for ax in axes:
            _thin_out(ax)
        return figure


def _thin_out(ax: Axes) -> None:
    """Leave the ticks whose numbers have room, those nearest to zero first; the figure has been laid out."""
    drawn = dict(zip(ax.get_xticks(), (label.get_window_extent() for label in ax.get_xticklabels()), strict=True))
    kept: list[float] = []
    for tick in sorted(drawn, key=abs):
        here = drawn[tick].padded(_GAP)
        if not any(here.overlaps(drawn[other]) for other in kept):
            kept.append(tick)
    ax.set_xticks(sorted(kept))


def _mark(ax: Axes, gap: pd.Series, at: float, number: int) -> None:
    colour, sure = SERIES[number % 8], Difference.of(gap).sign
    ax.plot([gap["lower"], gap["upper"]], [at, at], color=colour, linewidth=1.4, zorder=3)
    face = colour if sure else "white"
    ax.plot(gap["mean"], at, MARKERS[number % 8], color=colour, markersize=4.5, markerfacecolor=face, zorder=4)
