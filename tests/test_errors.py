"""What is refused of an option, and in which words."""

from dataclasses import dataclass
from typing import Any

import pytest

from dasm.errors import ConfigError, DamageError, at_least, within


def test_a_message_is_one_line_whatever_the_names_in_it():
    said = str(ConfigError("a\nb\r\x0b\x85c\u2028d\x1b[31m: must not"))
    assert said == r"a\nb\r\x0b\x85c\u2028d\x1b[31m: must not"
    assert str(ConfigError(said)) == said, "told on by another error"
    assert str(DamageError(["é\t.png: no"])) == r"é\t.png: no"


@dataclass(frozen=True, kw_only=True)
class Options:
    given: Any = 1
    count: Any = 1
    limit: Any = None


def test_options_below_the_lowest_are_refused_by_name():
    at_least(Options(given=1.5), 1, "given", "count", "limit")
    for value, name in ((0, "count"), (0.5, "count"), (float("nan"), "count"), (0, "limit")):
        with pytest.raises(ConfigError) as caught:
            at_least(Options(**{name: value}), 1, "given", "count", "limit")
        assert str(caught.value) == f"{name} must be >= 1, got {value!r}"


def test_nothing_lies_within_where_it_is_the_default():
    within(Options(), "[0, 1]", "limit")
    with pytest.raises(TypeError):
        within(Options(count=None), "[0, 1]", "count")


def test_nothing_is_taken_for_an_option_that_is_nothing_by_default_alone():
    with pytest.raises(TypeError):
        at_least(Options(count=None), 1, "count")


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("(0, 1)", [0.5], [0, 1]),
        ("[0, 1)", [0, 0.5], [-0.1, 1]),
        ("(0, 1]", [0.5, 1], [0, 1.1]),
        ("[0, 1]", [0, 0.5, 1], [-0.1, 1.1]),
        ("(-2, 3]", [-1, 3], [-2, 4]),
    ],
)
def test_an_interval_holds_the_ends_that_its_brackets_say(interval, inside, outside):
    for value in inside:
        within(Options(given=inside[0], count=value), interval, "given", "count")
    for value in (*outside, float("nan")):
        with pytest.raises(ConfigError) as caught:
            within(Options(given=inside[0], count=value), interval, "given", "count")
        assert str(caught.value) == f"count must be in {interval}, got {value!r}"
