"""The figure of differences over root seeds, against rows made by hand."""

import itertools

import pandas as pd
import pytest

from pipeline.reporting.drawing import SERIES
from pipeline.reporting.forest import forest

COLUMNS = ["network", "prefix_ipc", "split", "arm", "minus", "mean", "lower", "upper", "n", "same"]


def rows():
    gaps = {
        ("convnet", 2, "idc"): (0.0, 0.0, 0.0),  # the same set
        ("convnet", 2, "random"): (9.0, 6.0, 12.0),
        ("convnet", 5, "idc"): (0.5, -0.5, 1.5),
        ("convnet", 5, "random"): (-4.0, -5.0, -3.0),
        ("mlp", 5, "idc"): (1.0, 0.5, 1.5),
    }
    found = [[net, size, "test", "dasm", minus, *gap, 3, gap[0] == 0] for (net, size, minus), gap in gaps.items()]
    found += [
        ["convnet", 5, "validation", "dasm", "idc", 30.0, 29.0, 31.0, 3, False],
        ["convnet", 5, "test", "idc", "random", 40, 39, 41, 3, False],
    ]
    return pd.DataFrame(found, columns=COLUMNS)


def marks(ax):
    """(place, row, colour, filled) of every mark."""
    points = [line for line in ax.lines if line.get_marker() != "None"]
    return [
        (*line.get_xydata()[0], line.get_color(), line.get_markerfacecolor() == line.get_color()) for line in points
    ]


def test_every_other_arm_has_a_row_in_the_order_of_the_table():
    left, right = forest(rows(), "dasm").axes
    for ax in (left, right):
        assert [label.get_text() for label in ax.get_yticklabels()] == ["idc", "random"]
    assert [ax.get_title(loc="left") for ax in (left, right)] == ["convnet", "mlp (unseen)"]


def test_marks_stand_at_the_means_and_are_filled_where_the_interval_excludes_zero():
    left, right = forest(rows(), "dasm").axes
    found = {(x, round(row)): (colour, filled) for x, row, colour, filled in marks(left)}
    small, large = SERIES[:2]
    assert found == {(9.0, 1): (small, True), (0.5, 0): (large, False), (-4.0, 1): (large, True)}
    assert [(x, filled) for x, _, _, filled in marks(right)] == [(1.0, True)]
    spans = {tuple(line.get_xdata()) for line in left.lines if len(line.get_xdata()) == 2}
    assert {(6.0, 12.0), (-0.5, 1.5), (-5.0, -3.0)} <= spans


def test_the_axis_holds_every_interval():
    left, _ = forest(rows(), "dasm").axes
    assert left.get_xlim()[0] <= -5 and left.get_xlim()[1] >= 12
    ticks = [label.get_text() for label in left.get_xticklabels()]
    assert ticks == ["\N{MINUS SIGN}5", "\N{MINUS SIGN}2", "\N{MINUS SIGN}1", "0", "+1", "+2", "+5", "+10"]


@pytest.mark.parametrize("reach", [1, 2, 4, 6, 9, 12, 19, 25, 60])
@pytest.mark.parametrize("side", [1, -1, 0])
def test_the_numbers_of_the_axis_do_not_touch(reach, side):
    far = rows()
    if side >= 0:
        far.loc[3, "upper"] = reach
    if side <= 0:
        far.loc[3, "lower"] = -reach
    figure = forest(far, "dasm")
    figure.canvas.draw()
    for ax in figure.axes:
        boxes = [label.get_window_extent() for label in ax.get_xticklabels() if label.get_text()]
        assert len(boxes) >= 3
        assert all(right.x0 - left.x1 > 2 for left, right in itertools.pairwise(boxes))


def test_the_axis_says_where_it_is_linear_and_the_legend_what_no_mark_means():
    left, right = forest(rows(), "dasm").axes
    assert "\nlinear to ±2, logarithmic beyond" in left.get_xlabel()
    assert "linear" not in right.get_xlabel(), "all of it is"
    (legend,) = left.figure.legends
    assert legend.get_title().get_text().endswith("; no mark: both arms have the same set there")
    apart = forest(rows().query("not same"), "dasm")
    assert apart.legends[0].get_title().get_text() == "filled: the 95 % interval excludes zero"


def test_two_seeds_that_differ_alike_leave_a_mark_open():
    pair = rows().query("network == 'mlp'").assign(mean=1.0, lower=1.0, upper=1.0, n=2)
    assert [filled for *_, filled in marks(forest(pair, "dasm").axes[0])] == [False]


@pytest.mark.parametrize("reference", ["idc", "dasm"])
def test_the_reference_is_named(reference):
    assert reference in forest(rows(), reference).axes[0].get_xlabel()
