"""A distilled set that is cut into prefixes: every image in its place, and the whole again when it is put together."""

from dataclasses import replace

import pytest
import torch

from dasm.errors import ConfigError
from dasm.formation import decode, decoded_count
from dasm.pieces import cut, merged
from tests.handmade import stored_images

SIZES = (2, 1, 4)


def whole(*, soft: bool, factor: int = 2):
    segment = stored_images(0, ipc=sum(SIZES), classes=3, factor=factor)
    if not soft:
        return segment
    count = decoded_count(len(segment.labels), factor)
    labels = torch.rand(count, 3, generator=torch.Generator().manual_seed(1)).softmax(1)
    return replace(segment, soft_labels=labels, learned_rate=0.1)


def equal(first, second) -> bool:
    """Whether all that two segments hold is the same."""
    tensors = {"images", "labels", "sources", "soft_labels"}
    mine, theirs = vars(first), vars(second)
    plain = {name for name in mine if name not in tensors}
    if any(mine[name] != theirs[name] for name in plain):
        return False
    return all(
        (mine[name] is None and theirs[name] is None) or torch.equal(mine[name], theirs[name]) for name in tensors
    )


@pytest.mark.parametrize("soft", [False, True])
def test_pieces_hold_the_images_of_each_class_in_their_order(soft):
    segment = whole(soft=soft)
    pieces = cut(segment, SIZES)
    assert [(piece.index, piece.ipc, piece.iterations) for piece in pieces] == [(0, 2, 7), (1, 1, 0), (2, 4, 0)]
    for label in range(3):
        first, mine = 0, segment.labels == label
        for piece, size in zip(pieces, SIZES, strict=True):
            here = piece.labels == label
            assert torch.equal(piece.images[here], segment.images[mine][first : first + size])
            assert torch.equal(piece.sources[here], segment.sources[mine][first : first + size])
            first += size
    assert all(piece.labels.tolist() == sorted(piece.labels.tolist()) for piece in pieces), "class by class"
    assert {(piece.lower, piece.upper, piece.learned_rate) for piece in pieces} == {
        (segment.lower, segment.upper, segment.learned_rate)
    }


def test_every_training_image_keeps_its_soft_label():
    segment = whole(soft=True)

    def labelled(part):
        return {
            pixels.numpy().tobytes(): label
            for pixels, label in zip(decode(part.images / 255, part.factor), part.soft_labels, strict=True)
        }

    expected = labelled(segment)
    found = [labelled(piece) for piece in cut(segment, SIZES)]
    assert sum(map(len, found)) == len(expected) == 4 * 3 * sum(SIZES)
    for piece in found:
        assert all(torch.equal(label, expected[pixels]) for pixels, label in piece.items())


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("sizes", [SIZES, (7,), (1,) * 7])
def test_pieces_put_together_are_the_whole(soft, sizes):
    segment = whole(soft=soft)
    assert equal(merged(cut(segment, sizes)[::-1]), segment)


def test_sizes_that_do_not_add_up_are_refused():
    rule = r"^sizes must add up to the segment's 7 images per class, got \[2, 4\]$"
    with pytest.raises(ConfigError, match=rule):
        cut(whole(soft=False), (2, 4))
