"""What a set holds, on features that are plain numbers: an image is its own feature vector."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from dasm.diagnosis import PARTS, Landmarks, SegmentDiagnosis, mean, moved
from dasm.difficulty import rank_fraction
from dasm.errors import ConfigError
from dasm.networks import Classifier
from dasm.types import Segment
from tests.handmade import plain_set


def seeing(features: int) -> Classifier:
    return Classifier(nn.Flatten(), nn.Linear(features, 2))


def vectors(rows, labels=None):
    """A set whose images are these vectors, in [0, 1]."""
    rows = torch.tensor(rows, dtype=torch.float32)
    rows = rows[:, None] if rows.dim() == 1 else rows
    return plain_set(rows[:, None, None, :], labels or [0] * len(rows))


def landmarks(real, seed=0):
    """Images that come later are harder."""
    rank = rank_fraction(torch.arange(len(real)).float(), real.labels)
    return Landmarks(seeing(real.images[0].numel()), real, rank, seed)


def diagnosed(real, *segments, seed=0):
    marks = landmarks(real, seed)
    return marks.diagnose([marks.see(segment) for segment in segments])


def test_coverage_by_hand():
    """Three images for six: the radius is the distance to the second neighbour, 0.2 at the ends and 0.1 between."""
    real = vectors([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    easy_end = diagnosed(real, vectors([0.0, 0.02, 0.04]))
    assert easy_end.coverage == (1, 0, 0)
    assert diagnosed(real, vectors([0.5, 0.48, 0.46])).coverage == (0, 0, 1)
    assert diagnosed(real, vectors([0.05, 0.25, 0.45])).coverage == (1, 1, 1)
    assert diagnosed(real, vectors([0.05]), vectors([0.45, 0.46])).coverage == (1, 0, 1), "of all segments together"
    assert easy_end.images == 3 and len(PARTS) == len(easy_end.coverage)


def test_each_class_is_covered_by_its_own_images_alone():
    real = vectors([0.0, 0.1, 0.2, 0.8, 0.9, 1.0], [0, 0, 0, 1, 1, 1])
    right = diagnosed(real, vectors([0.0, 0.1, 0.2, 0.8, 0.9, 1.0], [0, 0, 0, 1, 1, 1]))
    wrong = diagnosed(real, vectors([0.0, 0.1, 0.2, 0.8, 0.9, 1.0], [1, 1, 1, 0, 0, 0]))
    half = diagnosed(real, vectors([0.0, 0.1, 0.2, 0.0, 0.1, 0.2], [0, 0, 0, 1, 1, 1]))
    assert right.coverage == (1, 1, 1) and wrong.coverage == (0, 0, 0)
    assert half.coverage == (0.5, 0.5, 0.5), "the mean over the classes"


@pytest.mark.parametrize("images", [2, 20])
@pytest.mark.parametrize("picked", [False, True])
def test_random_images_cover_the_same_at_any_number_whether_or_not_they_are_among_the_real_ones(images, picked):
    generator = torch.Generator().manual_seed(0)
    classes = 30
    rows = torch.rand(classes, 100, 6, generator=generator)
    other = rows[:, :images] if picked else torch.rand(classes, images, 6, generator=generator)
    labels, theirs = (torch.arange(classes).repeat_interleave(number).tolist() for number in (100, images))
    found = diagnosed(vectors(rows.flatten(0, 1).tolist(), labels), vectors(other.flatten(0, 1).tolist(), theirs))
    assert sum(found.coverage) / 3 == pytest.approx(1 - 1 / math.e, abs=0.04)


def test_a_class_of_one_image_is_covered():
    found = diagnosed(vectors([0.3, 0.5, 0.6], [0, 1, 1]), vectors([0.9, 0.0], [0, 1]))
    assert found.coverage[:2] == (0.5, 0), "the image of the first class, and none of the second"
    assert math.isnan(found.coverage[2]), "two images have no hardest third"


def centred(*rows):
    """Vectors around the real mean of `CROSS`."""
    return vectors((0.5 + 0.4 * torch.tensor(rows)).tolist())


CROSS = vectors([[0.5, 0.5, 0.5], [0.1, 0.1, 0.1], [0.9, 0.9, 0.9]])


def test_diversity_is_the_number_of_different_images():
    x, y, z = torch.eye(3).tolist()
    assert diagnosed(CROSS, centred(x, x, x)).diversity == pytest.approx(1)
    assert diagnosed(CROSS, centred(x, y, z)).diversity == pytest.approx(3)
    assert diagnosed(CROSS, centred(x, x, y, y)).diversity == pytest.approx(2)
    assert diagnosed(CROSS, centred(x, [-1.0, 0.0, 0.0])).diversity == pytest.approx(1), "along one line"
    assert diagnosed(CROSS, centred(x), centred(y), centred(z)).diversity == pytest.approx(3), "of the whole set"


def test_similarity_is_inside_a_segment_and_overlap_with_those_before():
    x, y, z = torch.eye(3).tolist()
    first, second, third = diagnosed(CROSS, centred(x, x), centred(x, y), centred([-1.0, 0.0, 0.0], z)).segments
    assert (first.similarity, second.similarity, third.similarity) == pytest.approx((1, 0, 0))
    assert math.isnan(first.overlap)
    assert second.overlap == pytest.approx(0.5)
    # -x with x, x, x, y and z with the same four.
    assert third.overlap == pytest.approx(-3 / 8)
    (alone,) = diagnosed(CROSS, centred(x)).segments
    assert math.isnan(alone.similarity), "one image has no pair"


@pytest.mark.parametrize("factor", [1, 2])
def test_how_far_pixels_went_is_from_the_tiles_that_each_image_started_from(factor):
    """By the equation, image by image and tile by tile; as they started, nothing has moved."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(40, 200, (24, 1, 4, 4), generator=generator, dtype=torch.uint8)
    real = plain_set(images, [0] * 12 + [1] * 12)
    sources = torch.stack(
        [c * 12 + torch.randperm(12, generator=generator)[: 2 * factor**2].view(2, -1) for c in range(2)]
    )
    side = 4 // factor
    stored = torch.empty(4, 1, 4, 4, dtype=torch.uint8)
    for number, own in enumerate(sources.flatten(0, 1)):
        for tile, source in enumerate(own):
            i, j = divmod(tile, factor)
            small = images[source][:, ::factor, ::factor]
            stored[number, :, i * side : (i + 1) * side, j * side : (j + 1) * side] = small
    made = {"index": 0, "factor": factor, "sources": sources.flatten(0, 1), "lower": 0.0, "upper": 1.0, "iterations": 1}
    still = Segment(images=stored, labels=torch.tensor([0, 0, 1, 1]), **made)
    assert moved(still, real) == 0
    shifts = torch.tensor([3, 0, 12, 4], dtype=torch.uint8)
    gone = replace(still, images=stored + shifts[:, None, None, None])
    assert moved(gone, real) == pytest.approx(((9 + 0 + 144 + 16) / 4) ** 0.5)
    assert math.isnan(moved(replace(still, sources=torch.full_like(still.sources, -1)), real))


def test_the_difficulty_of_a_segment_is_that_of_its_five_nearest_real_images():
    real = vectors([n / 20 for n in range(20)])
    low, high = 0.001, 0.949
    first, second, third = diagnosed(real, vectors([low]), vectors([high, high]), vectors([low, high])).segments
    assert first.difficulty == pytest.approx((0 + 1 + 2 + 3 + 4) / 5 / 20)
    assert second.difficulty == pytest.approx((15 + 16 + 17 + 18 + 19) / 5 / 20)
    assert third.difficulty == pytest.approx((2 + 17) / 2 / 20)
    assert [segment.images for segment in (first, second, third)] == [1, 2, 2]


def test_a_real_image_that_the_set_holds_is_no_neighbour_of_itself():
    real = vectors([n / 20 for n in range(20)])
    first, second = diagnosed(real, vectors([0.0]), vectors([0.0, 0.949])).segments
    assert first.difficulty == pytest.approx((1 + 2 + 3 + 4 + 5) / 5 / 20)
    assert second.difficulty == pytest.approx((3 + 17) / 2 / 20)
    # As many as there are; and none at all for the one image of a class.
    (few,) = diagnosed(vectors([0.0, 0.1, 0.2, 0.5], [0, 0, 0, 1]), vectors([0.1, 0.5], [0, 1])).segments
    assert few.difficulty == pytest.approx((0 + 2) / 2 / 3)


def test_the_order_of_the_real_images_does_not_matter():
    generator = torch.Generator().manual_seed(1)
    rows, labels = torch.rand(60, 3, generator=generator), torch.arange(60) % 2
    rank = rank_fraction(torch.rand(60, generator=generator), labels)
    order = torch.randperm(60, generator=generator)
    real, moved = vectors(rows.tolist(), labels.tolist()), vectors(rows[order].tolist(), labels[order].tolist())
    made = vectors(torch.rand(8, 3, generator=generator).tolist(), [0, 1] * 4)
    one, other = (Landmarks(seeing(3), r, u, 0) for r, u in ((real, rank), (moved, rank[order])))
    first, second = (marks.diagnose([marks.see(made)]) for marks in (one, other))
    assert first.coverage == pytest.approx(second.coverage)
    assert first.diversity == pytest.approx(second.diversity)
    assert first.segments[0].difficulty == pytest.approx(second.segments[0].difficulty)


def test_of_a_large_class_a_thousand_images_are_looked_at_the_same_ones_every_time(monkeypatch):
    monkeypatch.setattr("dasm.diagnosis._MOST", 10)
    generator = torch.Generator().manual_seed(1)
    real = vectors(torch.rand(200, 3, generator=generator).tolist())
    made = vectors(torch.rand(4, 3, generator=generator).tolist())
    first, again, other = (diagnosed(real, made, seed=seed) for seed in (0, 0, 1))
    assert first == replace(again, segments=first.segments) and first != other


def test_several_networks_are_averaged():
    x, y = torch.eye(3).tolist()[:2]
    one, other = diagnosed(CROSS, centred(x, x), centred(x)), diagnosed(CROSS, centred(x, y), centred(x))
    both = mean([one, other])
    assert both.diversity == pytest.approx((one.diversity + other.diversity) / 2)
    assert both.coverage == pytest.approx([(a + b) / 2 for a, b in zip(one.coverage, other.coverage, strict=True)])
    first, second = both.segments
    assert isinstance(first, SegmentDiagnosis) and (first.images, second.images) == (2, 1)
    assert first.similarity == pytest.approx(0.5) and math.isnan(first.overlap) and math.isnan(second.similarity)
    assert second.overlap == pytest.approx(0.75)


def test_a_network_that_has_diverged_is_refused():
    real = vectors([0.0, 0.5, 1.0])
    network = seeing(1)
    network.body = nn.Sequential(nn.Flatten(), nn.Threshold(2.0, math.nan))
    with pytest.raises(ConfigError, match=r"^features of a network that has learnt real images must be finite, got"):
        Landmarks(network, real, rank_fraction(torch.arange(3).float(), real.labels), 0)
