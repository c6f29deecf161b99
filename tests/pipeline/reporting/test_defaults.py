"""Defaults read off the source are those of the dataclasses."""

from dataclasses import MISSING, fields

import pytest

from dasm.evaluators import Evaluators
from dasm.matching import Matching
from dasm.selection import Selection
from pipeline.reporting.defaults import default


@pytest.mark.parametrize(
    ("block", "kind"), [("matching", Matching), ("evaluator", Evaluators), ("selection", Selection)]
)
def test_every_default_is_that_of_the_dataclass(block, kind):
    for field in fields(kind):
        expected = None if field.default is MISSING else field.default
        assert default(f"{block}.{field.name}") == expected, field.name


def test_there_are_some():
    assert default("matching.windowed") == "both"
    assert default("evaluator.start") == "fresh"


@pytest.mark.parametrize("path", ["matching.objective.metric", "matching.none", "coreset.share", "matching"])
def test_what_has_no_plain_default_is_none(path):
    assert default(path) is None
