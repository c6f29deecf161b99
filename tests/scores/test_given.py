"""Scores that were computed elsewhere: which row is which image, and what is refused of a file."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from dasm.coresets import Guide
from dasm.coresets.ccs import CCS
from dasm.coresets.mosaic import Mosaic
from dasm.coresets.random import Random
from dasm.coresets.window import SlidingWindow
from dasm.difficulty import measure
from dasm.errors import ConfigError
from dasm.scores.given import Given
from dasm.scores.loss import Loss
from dasm.windows.tail import Tail
from tests.conftest import make_blobs
from tests.handmade import one_hot_set, with_batch_norm

#: Twelve images of three classes, those of a data set of twenty that were not held out.
ORIGIN = [0, 1, 3, 4, 7, 8, 9, 11, 14, 15, 16, 18]
REAL = replace(make_blobs(4, 0), origin=torch.tensor(ORIGIN))
LABELS = np.full(20, 9)
LABELS[ORIGIN] = REAL.labels
SCORES = np.arange(20) / 7
EXPECTED = torch.tensor(SCORES[ORIGIN], dtype=torch.float32)


@pytest.fixture
def given(tmp_path):
    def write(**columns):
        path = tmp_path / "scores.parquet"
        pq.write_table(pa.table(columns), path)
        return Given(path=str(path))

    return write


def asked(score, real=REAL):
    return score(real, (), ())


def test_a_row_is_an_image_of_the_data_set_in_stored_order(given):
    assert torch.equal(asked(given(score=SCORES)), EXPECTED)
    assert torch.equal(asked(given(score=SCORES, label=LABELS)), EXPECTED)
    assert torch.equal(asked(given(score=SCORES), REAL.subset(torch.tensor([5, 2]))), EXPECTED[[5, 2]])


@pytest.mark.parametrize("left_out", [0, 5])
def test_rows_that_say_which_image_they_are_come_in_any_order(given, left_out):
    """Images that are not trained on may be missing."""
    order = np.random.default_rng(0).permutation(20)
    order = np.array([place for place in order if place not in [2, 5, 6, 10, 12][:left_out]])
    score = given(origin=order, score=SCORES[order], label=LABELS[order].astype(np.uint8))
    assert torch.equal(asked(score), EXPECTED)


def test_whole_numbers_are_scores_too(given):
    assert asked(given(score=np.arange(20))).tolist() == ORIGIN


def test_it_ranks_whatever_the_networks_say(given):
    difficulty = measure(REAL, [[with_batch_norm()], [with_batch_norm()]], given(score=-SCORES))
    assert torch.equal(difficulty.score, -EXPECTED) and not difficulty.spread.any()
    assert difficulty.rank.tolist() == [0.75, 0.5, 0.25, 0] * 3


def test_coresets_that_go_by_it_read_its_file(given):
    score = given(score=SCORES)
    for coreset in (CCS(score=score), SlidingWindow(score=score), Mosaic(score=score, window=Tail())):
        assert coreset.files() == [score.path] and coreset.snapshots_needed == 1
        coreset.check(REAL, [1, 1])
        with pytest.raises(ConfigError, match="must have a row for each image"):
            coreset.check(replace(REAL, origin=REAL.origin + 9), [1, 1])
    for coreset in (CCS(), SlidingWindow(score=Loss()), Mosaic(score=score), Random()):
        assert not coreset.files()
        coreset.check(one_hot_set([0]), [1])
    guide = Guide(readings=[[]], judge=lambda _: 0.0)
    with pytest.raises(ConfigError, match="snapshots must be >= 1"):
        guide.score(score, REAL)


REFUSED = {
    "fewer rows": (
        {"score": SCORES[:18]},
        "must have a row for each image of the data set in stored order, 19 or more, got 18"
        " (or a column `origin` that says which they are)",
    ),
    "no score": ({"scores": SCORES}, "must have a column 'score', got scores"),
    "text": ({"score": [str(score) for score in SCORES]}, "score must hold numbers, got string, 0 missing"),
    "missing": ({"score": [None, *SCORES[1:]]}, "score must hold numbers, got double, 1 missing"),
    "no number": ({"score": [*SCORES[:-1], np.nan]}, "score must be finite in every row, got nan in row 19"),
    "too large": ({"score": [1e300, *SCORES[1:]]}, "score must be finite in every row, got inf in row 0"),
    "another order": (
        {"score": SCORES, "label": np.roll(LABELS, 1)},
        "label must be the class of every image, got 9 for image 0, of class 0 (another order, or other labels)",
    ),
    "labels": ({"score": SCORES, "label": LABELS / 1}, "label must hold integers, got double, 0 missing"),
    "origin": ({"score": SCORES, "origin": SCORES}, "origin must hold integers, got double, 0 missing"),
    "twice": (
        {"score": SCORES, "origin": [*range(19), 7]},
        "origin must name every image once, got 7 twice",
    ),
    "not all": (
        {"score": SCORES, "origin": [*range(7), *range(8, 18), *range(40, 43)]},
        "origin must name every training image, got none of 2 of 12 (image 7 is the first)",
    ),
    "nobody": (
        {"score": SCORES[:0], "origin": np.arange(0)},
        "origin must name every training image, got none of 12 of 12 (image 0 is the first)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_with_the_images_is_refused(given, case):
    columns, rule = REFUSED[case]
    score = given(**columns)
    for ask in (lambda: asked(score), lambda: score.check(REAL)):
        with pytest.raises(ConfigError) as caught:
            ask()
        assert str(caught.value) == f"{score.path}: {rule}"


def test_what_is_no_parquet_file_is_refused(tmp_path):
    (tmp_path / "text").write_text("score\n1\n")
    for name in ("text", "nobody", "."):
        path = str(tmp_path / name)
        with pytest.raises(ConfigError) as caught:
            Given(path=path).check(REAL)
        assert str(caught.value).startswith(f"{path}: must be a readable Parquet file (")
        assert "\n" not in str(caught.value)


def test_images_that_do_not_say_where_they_stand_are_refused(given):
    rule = r"^score given: must know where images stand in their data set \(`origin`\), got none$"
    with pytest.raises(ConfigError, match=rule):
        asked(given(score=SCORES), replace(REAL, origin=None))
