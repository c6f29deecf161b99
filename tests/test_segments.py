"""What a segment refuses, passes over and takes of the segments before it."""

from dataclasses import replace

import pytest
import torch

from dasm.errors import ConfigError
from dasm.initial import choose_sources
from dasm.matching import Matching
from dasm.objectives.gradient import Gradient
from dasm.segments import SegmentPlan, decoded, distil_segment


@pytest.mark.parametrize("union", [False, True])
def test_a_union_is_of_segments_that_are_decoded_alike(trainer, blobs, union):
    matching = Matching(objective=Gradient(real_batch=8, network_images=0), trainer=trainer, match_prefix=union)
    about = {"weights": torch.ones(len(blobs)), "rank": None, "planned_ipc": 2, "seed": 0}
    plan = SegmentPlan(ipc=1, iterations=1)
    first, _ = distil_segment(matching, plan, blobs, [], **about)
    second, _ = distil_segment(matching, plan, blobs, [first], **about)
    assert (first.factor, second.factor) == (2, 2)
    plain = replace(matching, factor=1)
    if union:
        with pytest.raises(ConfigError, match=r"^factor must be 2 with match_prefix, as .*, got 1$"):
            distil_segment(plain, plan, blobs, [first], **about)
    else:
        assert distil_segment(plain, plan, blobs, [first], **about)[0].factor == 1


def test_a_first_segment_passes_nothing_over(trainer, blobs, monkeypatch):
    asked = []
    monkeypatch.setattr("dasm.segments.choose_sources", lambda *a: asked.append(a[4]) or choose_sources(*a))
    matching = Matching(objective=Gradient(real_batch=8, network_images=0), trainer=trainer, factor=1)
    about = {"weights": torch.ones(len(blobs)), "rank": None, "planned_ipc": 2, "seed": 0}
    first, _ = distil_segment(matching, SegmentPlan(ipc=2, iterations=0), blobs, [], **about)
    distil_segment(matching, SegmentPlan(ipc=1, iterations=0), blobs, [first], **about)
    assert [used.tolist() for used in asked] == [[], first.sources.flatten().tolist()]


@pytest.mark.parametrize(("steps", "times"), [(0, 1), (2, 2)])
def test_frozen_segments_are_decoded_for_networks_that_learn_them_alone(trainer, blobs, monkeypatch, steps, times):
    """Besides, the new one is, for what goes with it."""
    objective = Gradient(real_batch=8, network_images=0, prefix_steps=steps)
    matching = Matching(objective=objective, trainer=trainer)
    about = {"weights": torch.ones(len(blobs)), "rank": None, "planned_ipc": 2, "seed": 0}
    first, _ = distil_segment(matching, SegmentPlan(ipc=1, iterations=0), blobs, [], **about)
    asked = []
    monkeypatch.setattr(
        "dasm.segments.decoded", lambda segments, real: asked.append(segments) or decoded(segments, real)
    )
    distil_segment(matching, SegmentPlan(ipc=1, iterations=1), blobs, [first], **about)
    assert [[segment.index for segment in segments] for segments in asked] == [[0], [1]][2 - times :]


@pytest.mark.parametrize("union", [False, True])
def test_a_segment_may_follow_a_set_made_elsewhere(trainer, blobs, union):
    """Such a set does not say which real images it is from, so none is passed over: real image 0 neither."""
    matching = Matching(objective=Gradient(real_batch=8, network_images=0), trainer=trainer, match_prefix=union)
    about = {"weights": torch.ones(len(blobs)), "rank": None, "planned_ipc": 2, "seed": 0}
    plan = SegmentPlan(ipc=1, iterations=1)
    first, _ = distil_segment(matching, plan, blobs, [], **about)
    given = replace(first, sources=torch.full_like(first.sources, -1))
    second, _ = distil_segment(matching, plan, blobs, [given], **about)
    assert second.index == 1 and torch.equal(second.sources, first.sources)
