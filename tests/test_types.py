import re
from copy import copy
from dataclasses import replace

import pytest
import torch

from dasm.errors import ConfigError, require
from dasm.formation import decode_set
from dasm.types import LabelledImages, Segment, Task, join, normalise, prefixes
from tests.handmade import numbered_set, numbers


def make(labels, names=("a", "b"), images=None):
    count = len(labels)
    return LabelledImages(
        images=torch.zeros(count, 3, 4, 5, dtype=torch.uint8) if images is None else images,
        labels=torch.tensor(labels, dtype=torch.long),
        class_names=names,
        mean=torch.tensor([0.5, 0.25, 0.0]),
        std=torch.tensor([0.5, 0.25, 1.0]),
    )


@pytest.mark.parametrize("labels", [[0, 2], [-1, 0]])
def test_labels_that_name_no_class_are_refused(labels):
    with pytest.raises(ConfigError, match=r"^labels must be in \[0, 2\), got \[.*\]$"):
        make(labels)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"images": torch.zeros(2, 3, 4, 5, dtype=torch.int64)},
            "images must be 8-bit or floating point, got torch.int64",
        ),
        ({"images": torch.zeros(2, 4, 5)}, "images must be n x channels x height x width, got [2, 4, 5]"),
        ({"images": torch.zeros(3, 3, 4, 5)}, "images must be as many as labels, 2, got 3"),
        ({"labels": torch.tensor([0, 1], dtype=torch.int32)}, "labels must be 64-bit integers, got torch.int32"),
        ({"targets": torch.eye(2)[:1]}, "soft labels must be as many as labels, 2, got 1"),
        ({"origin": torch.arange(3)}, "origins must be as many as labels, 2, got 3"),
    ],
)
def test_what_no_network_could_read_is_refused(changed, message):
    # Without the checks of shapes, which only tests make.
    whole, check = make([0, 1]), LabelledImages.__post_init__
    made = copy(whole)
    for name, value in changed.items():
        object.__setattr__(made, name, value)
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        check(made)


def test_a_set_may_be_empty_or_lack_a_class():
    assert len(make([])) == 0
    assert make([1, 1]).num_classes == 2


def test_a_set_knows_its_sizes():
    data = make([0, 1, 1])
    assert (len(data), data.image_shape) == (3, (3, 4, 5))


def test_pixels_of_8_bit_images_lie_in_0_to_1():
    data = make([0, 1], images=torch.tensor([0, 51, 255], dtype=torch.uint8)[None, :, None, None].expand(2, 3, 4, 5))
    assert data.pixels()[1, :, 0, 0].tolist() == pytest.approx([0, 0.2, 1])


def test_floating_point_pixels_stay_as_they_are():
    images = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(make([0, 1], images=images).pixels(), images)


def test_inputs_are_normalised_channel_by_channel():
    images = torch.tensor([1.0, 0.5, 0.5])[None, :, None, None].expand(2, 3, 4, 5)
    data = make([0, 1], images=images)
    assert data.inputs()[0, :, 2, 3].tolist() == [1, 1, 0.5]
    assert torch.equal(data.inputs(torch.tensor([1])), normalise(images, data.mean, data.std)[1:])


def test_members_and_subsets_keep_their_order():
    data = numbered_set([1, 0, 1, 2, 1])
    assert data.members(1).tolist() == [0, 2, 4]
    part = data.subset(torch.tensor([3, 0, 0]))
    assert numbers(part.inputs()) == [3, 0, 0]
    assert part.labels.tolist() == [2, 1, 1]
    assert part.class_names == data.class_names
    assert numbers(data.inputs(torch.tensor([4, 1]))) == [4, 1]


def test_where_images_stand_in_their_data_set_goes_with_them_as_long_as_it_is_one():
    data = replace(numbered_set([1, 0, 1, 2, 1]), origin=torch.tensor([9, 8, 7, 6, 5]))
    part = data.subset(torch.tensor([3, 0, 0])).to("cpu")
    assert part.origin.tolist() == [6, 9, 9] and numbered_set([0]).subset(torch.tensor([0])).origin is None
    assert join([part, part]).origin is None and join([part]).origin is part.origin
    assert [each.origin for each in prefixes([part, part])] == [None, None]
    assert decode_set(data, 1).origin is None


def test_sets_are_joined_in_order_and_prefix_by_prefix():
    data = numbered_set([1, 0, 1, 2, 1])
    parts = [data.subset(torch.tensor(rows)) for rows in ([4, 1], [0], [3, 2])]
    assert [numbers(part.inputs()) for part in prefixes(parts)] == [[4, 1], [4, 1, 0], [4, 1, 0, 3, 2]]
    assert len({part.images.untyped_storage().data_ptr() for part in prefixes(parts)}) == 1, "no copy for every prefix"
    whole = join(parts)
    assert whole.labels.tolist() == [1, 0, 1, 2, 1] and whole.class_names == data.class_names
    assert join([data]) is data


@pytest.mark.parametrize("function", [join, prefixes])
def test_no_sets_make_no_set(function):
    with pytest.raises(ConfigError, match=r"^segments: must be at least one, got none$"):
        function([])


def test_a_segment_counts_its_images_per_class():
    segment = Segment(
        images=torch.zeros(6, 1, 2, 2, dtype=torch.uint8),
        labels=torch.tensor([0, 0, 0, 1, 1, 1]),
        index=0,
        factor=1,
        sources=torch.zeros(6, 1, dtype=torch.long),
        lower=0.0,
        upper=1.0,
        iterations=0,
    )
    assert segment.ipc == 3


def test_a_requirement_that_fails_says_rule_value_and_hint():
    require(True, "never said", 1)
    with pytest.raises(ConfigError, match=r"^x must be > 0, got -1 \(count\)$"):
        require(False, "x must be > 0", -1, "count")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make([0], names=("a", "c")), r"class names must be the same in all parts, got \{"),
        (make([0], images=torch.zeros(1, 3, 4, 5)), r"kinds of images must be the same in all parts, got \{torch\."),
        (replace(make([0]), targets=torch.eye(2)[:1]), "soft labels must be those of all 2 parts or of none, got 1$"),
    ],
)
def test_parts_of_different_kinds_are_not_joined(other, message):
    with pytest.raises(ConfigError, match="^" + message):
        join([make([1]), other])


def test_a_task_moves_as_a_whole(monkeypatch):
    asked = []
    monkeypatch.setattr(LabelledImages, "to", lambda self, device: asked.append((len(self), device)) or self)
    moved = Task(train=make([0]), validation=make([1, 1]), test=make([0, 1, 0])).to("cuda:1")
    assert asked == [(1, "cuda:1"), (2, "cuda:1"), (3, "cuda:1")]
    assert [len(part) for part in (moved.train, moved.validation, moved.test)] == [1, 2, 3]
