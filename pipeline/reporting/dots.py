"""The dot plot: every arm of a study in order of accuracy, at its largest size."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

from pipeline.reporting.drawing import INK, MARKERS, MUTED, RULE, SERIES, STYLE, panels
from pipeline.reporting.ranking import RANDOM, Place
from pipeline.reporting.roster import GROUPS, Entry, homes
from pipeline.reporting.scope import Scope

# The reference first, controls last; the groups between have the colours of the series.
_LOOKS = dict(zip(GROUPS, [(INK, "*"), *zip(SERIES, MARKERS, strict=True), (MUTED, "X")], strict=True))
_SIZES = {"*": 9}  # a star of the usual size is small
_HEIGHT = 0.165  # inches of a row
_FEWEST = 4  # rows: names and legend leave no room for an axis that is lower
_MARGIN = 0.18  # of the axis, left of random images


def dots(
    ranked: Mapping[str, Sequence[Place]],
    groups: Mapping[str, Sequence[Entry]],
    scope: Scope,
    full: Mapping[str, float],
) -> Figure:
    """Draw the test accuracy of every arm, mean and std over seeds, best on top, a panel per network.

    Args:
        ranked: of each network the places of all arms.
        groups: which arm competes where; sets colour and marker.
        scope: of the study.
        full: of each network the accuracy of all real data.
    """
    group_of = {arm: group for arm, (group, _) in homes(groups).items()}
    used = [group for group in GROUPS if group in group_of.values()]
    with mpl.rc_context(STYLE), mpl.rc_context({"axes.grid": False, "axes.spines.left": False, "font.size": 8}):
        rows = max(_FEWEST, len(scope.arms))
        figure, axes = panels(len(ranked), 1.15 + _HEIGHT * (rows + len(used) // 2 + 1))
        for ax, (network, places) in zip(axes, ranked.items(), strict=True):
            ax.set_xlim(*span(places, full[network]))
            _rows(ax, places, [group_of[place.arm] for place in places])
            _lines(ax, places, scope, full[network])
            title = network if network == scope.networks[0] else f"{network} (unseen)"
            # Above the names of the lines.
            ax.set_title(title, pad=40)
            ax.set(xlabel="test accuracy, %", ylim=(0.7 - rows, 0.7))
            ax.set_yticks(-np.arange(len(places)), [place.arm for place in places])
            for label, place in zip(ax.get_yticklabels(), places, strict=True):
                label.set(color=MUTED if place.arm == RANDOM else INK)
                label.set_fontweight("bold" if place.arm == scope.reference else "normal")
            _legend(ax, used, -0.36 / (_HEIGHT * rows))
        return figure


def span(places: Sequence[Place], full: float) -> tuple[float, float]:
    """Return the ends of the axis: all accuracies, but of those far below random images at most a quarter are left out.

    Args:
        places: of all arms.
        full: accuracy of all real data.
    """
    means = np.array([place.mean for place in places])
    stds = np.nan_to_num([place.std for place in places])
    low, high = min(full, float((means - stds).min())), max(full, float((means + stds).max()))
    floor = min((place.mean for place in places if place.arm == RANDOM), default=low)
    # Random images may be among the best, and then nearly all would be left out.
    floor = min(floor, float(np.quantile(means, 0.25)), full)
    margin = _MARGIN * max(high - floor, 1.0)
    return max(low, floor) - margin, high + margin / 2


def beyond(places: Sequence[Place], full: float) -> bool:
    """Say whether an arm is left of the axis that `span` returns."""
    return any(place.mean < span(places, full)[0] for place in places)


def _rows(ax: Axes, places: Sequence[Place], groups: Sequence[str]) -> None:
    y = -np.arange(len(places), dtype=float)
    mean, std = (np.array([getattr(place, name) for place in places]) for name in ("mean", "std"))
    ax.hlines(y, 0, 1, transform=ax.get_yaxis_transform(), color=RULE, linewidth=0.5, zorder=0)
    for group in sorted({*groups}):
        colour, marker = _LOOKS[group]
        here = np.array([name == group for name in groups])
        inside = mean >= ax.get_xlim()[0]
        for at in y[here & ~inside]:
            number = f"\N{LEFTWARDS ARROW} {mean[int(-at)]:.1f}"
            ax.text(0.005, at, number, transform=ax.get_yaxis_transform(), va="center", fontsize=7, color=colour)
        here &= inside
        ax.hlines(y[here], (mean - std)[here], (mean + std)[here], color=colour, linewidth=1.6, alpha=0.45)
        ax.plot(mean[here], y[here], marker, color=colour, markersize=_SIZES.get(marker, 5), clip_on=False)
    for at, value in zip(y, mean, strict=True):
        ax.text(1.015, at, f"{value:.1f}", transform=ax.get_yaxis_transform(), va="center", fontsize=7, color=MUTED)


def _lines(ax: Axes, places: Sequence[Place], scope: Scope, full: float) -> None:
    means = {place.arm: place.mean for place in places}
    marks = [("all real data", full, (0, (4, 3))), (scope.reference, means[scope.reference], (0, ()))]
    if RANDOM in scope.coresets:
        marks.append(("random images", means[RANDOM], (0, (1, 2))))
    above = blended_transform_factory(ax.transData, ax.transAxes)
    for i, (name, x, dashes) in enumerate(marks):
        ax.axvline(x, color=MUTED, linewidth=1, linestyle=dashes, zorder=1)
        # One above the other: the lines may be close to each other.
        ax.annotate(
            name, (x, 1), (0, 3 + 10 * i), xycoords=above, textcoords="offset points", ha="center", color=MUTED,
            fontsize=7.5,
        )  # fmt: skip


def _legend(ax: Axes, groups: Sequence[str], below: float) -> None:
    looks = {GROUPS[group]: _LOOKS[group] for group in groups}
    ax.legend(
        handles=[
            Line2D([], [], color=colour, marker=marker, linestyle="", markersize=_SIZES.get(marker, 5), label=name)
            for name, (colour, marker) in looks.items()
        ],
        loc="upper center",
        bbox_to_anchor=(0.4, below),
        ncols=2,
        frameon=False,
        fontsize=7.5,
        labelcolor=MUTED,
        handletextpad=0.2,
        columnspacing=1.2,
    )
