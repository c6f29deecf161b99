"""The axis of the dot plot, and what becomes of arms that it leaves out."""

import math

import pytest

from pipeline.reporting.dots import beyond, dots, span
from pipeline.reporting.ranking import Place
from pipeline.reporting.roster import Entry
from pipeline.reporting.scope import Scope


def places(means, std=0.5):
    ordered = sorted(means.items(), key=lambda item: -item[1])
    return [
        Place(arm=arm, rank=rank, mean=mean, std=std, n=3, validation=mean, random={}, reference={})
        for rank, (arm, mean) in enumerate(ordered, 1)
    ]


MEANS = {"dasm": 96.0, "a": 95.0, "b": 94.0, "c": 93.0, "random": 90.0, "far": 64.9}


def test_the_axis_starts_a_little_below_random_and_ends_beyond_all_real_data():
    low, high = span(places(MEANS), 98.0)
    assert 87 < low < 90 - 0.5 and 98 < high < 99
    assert beyond(places(MEANS), 98.0)


def test_all_arms_are_on_an_axis_that_random_images_end():
    near = {**MEANS, "far": 89.9}
    low, _ = span(places(near), 98.0)
    assert low < 89.4 and not beyond(places(near), 98.0)
    above = {arm: mean for arm, mean in MEANS.items() if arm != "far"}
    assert not beyond(places(above), 98.0)


def test_all_real_data_are_on_the_axis_though_every_arm_is_above():
    low, _ = span(places(MEANS), 54.0)
    assert low < 54


@pytest.mark.parametrize("arms", [1, 2, 3, 4])
def test_few_arms_leave_room_for_the_axis(arms):
    """Where there is none, matplotlib says that it gave up; warnings are errors here."""
    shown = dict(list(MEANS.items())[:arms])
    few = Scope(**{**vars(scope()), "scored": tuple(shown), "coresets": ()})
    others = tuple(Entry(arm=arm, what="", note="") for arm in shown if arm != "dasm")
    groups = {"reference": (Entry(arm="dasm", what="", note=""),), "window": others}
    figure = dots({"convnet": places(shown)}, groups, few, {"convnet": 98.0})
    figure.canvas.draw()
    assert figure.axes[0].get_window_extent().height > 50


def test_random_images_among_the_best_leave_no_more_than_a_quarter_out():
    best = {**MEANS, "random": 97.0}
    low, _ = span(places(best), 98.0)
    assert sum(mean < low for mean in best.values()) == 1


def test_without_random_images_or_without_a_spread_all_is_shown():
    none = {arm: mean for arm, mean in MEANS.items() if arm != "random"}
    assert span(places(none), 98.0)[0] < 64.9 or beyond(places(none), 98.0)
    low, high = span(places(MEANS, std=math.nan), 98.0)
    assert math.isfinite(low) and high > 98


def scope():
    return Scope(
        name="s",
        scored=("dasm", "a", "b", "c"),
        controls=(),
        joint=(),
        coresets=("random", "far"),
        networks=("convnet",),
        segments=1,
        states=(1,),
        scores=(0,),
    )


@pytest.fixture
def ax():
    def entries(*arms):
        return tuple(Entry(arm=arm, what="", note="") for arm in arms)

    groups = {"reference": entries("dasm"), "window": entries("a", "b", "c"), "coreset": entries("random", "far")}
    return dots({"convnet": places(MEANS)}, groups, scope(), {"convnet": 98.0}).axes[0]


def test_an_arm_left_of_the_axis_is_an_arrow_with_its_number(ax):
    (arrow,) = [text for text in ax.texts if "\N{LEFTWARDS ARROW}" in text.get_text()]
    assert arrow.get_text() == "\N{LEFTWARDS ARROW} 64.9"
    assert arrow.get_position()[1] == -5, "the last row"
    drawn = {float(x) for line in ax.lines if line.get_marker() != "None" for x in line.get_xdata()}
    assert drawn == {*MEANS.values()} - {64.9}


def test_the_mark_of_the_reference_is_its_own(ax):
    stars = [line for line in ax.lines if line.get_marker() == "*"]
    assert [list(line.get_xdata()) for line in stars] == [[96.0]]
