"""A set made elsewhere: what is read of its file, against the images that were written into it, and what is refused."""

import pytest
import torch
from safetensors.torch import save_file

from dasm.coresets import Guide
from dasm.coresets.given import Given
from dasm.coresets.mosaic import Mosaic
from dasm.coresets.random import Random
from dasm.errors import ConfigError
from dasm.evaluate import Protocol, evaluate
from dasm.segments import decoded, decoded_parts
from tests.conftest import make_blobs

SIZES = [1, 3, 2]
NOBODY = Guide(readings=(), judge=lambda rows: 0.0)


def written(folder, **tensors):
    path = folder / "set.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}, path)
    return str(path)


def segments(given, real, sizes=SIZES, factor=1):
    return list(given.segments(real, sizes, factor=factor, seed=0, guide=NOBODY))


def picked(rule, real, factor=1):
    return list(rule.segments(real, SIZES, factor=factor, seed=5, guide=NOBODY))


def shuffled(found):
    """The images of segments in another order of classes, that of each class as it is; and their labels."""
    labels = torch.cat([segment.labels for segment in found])
    images = torch.cat([segment.images for segment in found])
    inside = torch.stack([(labels[:i] == labels[i]).sum() for i in range(len(labels))])
    order = torch.argsort(inside * 10 + (7 * labels) % 3, stable=True)
    return {"images": images[order], "labels": labels[order]}


@pytest.mark.parametrize("floating", [False, True])
def test_given_images_are_judged_as_the_same_images_picked(tmp_path, task, trainer, floating):
    """To the last bit, in every segment; also where they were written as floating point."""
    rule = picked(Random(), task.train)
    tensors = shuffled(rule)
    if floating:
        tensors["images"] = tensors["images"].float() / 255
    given = segments(Given(path=written(tmp_path, **tensors)), task.train)
    for ours, theirs in zip(given, rule, strict=True):
        assert torch.equal(ours.images, theirs.images) and torch.equal(ours.labels, theirs.labels)
        assert ours.sources.shape == theirs.sources.shape and (ours.sources == -1).all()
        assert (ours.index, ours.factor, ours.lower, ours.upper) == (theirs.index, 1, 0.0, 1.0)
        assert ours.iterations == 0 and ours.soft_labels is None and ours.learned_rate is None
    protocol = Protocol(recipe=trainer.recipe, steps=10, seeds=2)
    ours, theirs = (
        evaluate(protocol, trainer.network, decoded_parts(found, task.train), task, 0) for found in (given, rule)
    )
    assert ours == theirs


def test_stored_mosaics_decode_to_the_same_training_images(tmp_path):
    real = make_blobs(30, 0)
    rule = picked(Mosaic(), real, factor=2)
    given = segments(Given(path=written(tmp_path, **shuffled(rule)), factor=2), real, factor=3)
    assert torch.equal(decoded(given, real).images, decoded(rule, real).images)
    assert [segment.sources.shape for segment in given] == [(3 * ipc, 4) for ipc in SIZES]


def test_images_are_taken_in_the_order_of_the_file_and_those_beyond_are_left(tmp_path, blobs):
    order = torch.randperm(len(blobs), generator=torch.Generator().manual_seed(0))
    images, labels = blobs.images[order], blobs.labels[order]
    for number, segment in enumerate(segments(Given(path=written(tmp_path, images=images, labels=labels)), blobs)):
        start, ipc = sum(SIZES[:number]), SIZES[number]
        expected = torch.cat([images[labels == label][start : start + ipc] for label in range(3)])
        assert torch.equal(segment.images, expected)
        assert segment.labels.tolist() == [label for label in range(3) for _ in range(ipc)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("factor", [1, 2])
def test_every_training_image_has_the_soft_label_of_its_row(tmp_path, factor, dtype):
    """Row i f^2 + t is of tile t of image i. Here it says so: i in its first entry, t in its second."""
    real = make_blobs(6, 0)
    tiles = factor**2
    image, tile = torch.arange(18 * tiles) // tiles, torch.arange(18 * tiles) % tiles
    soft = torch.stack([image / 64, tile / 64, 1 - (image + tile) / 64], dim=1).to(dtype)
    path = written(tmp_path, images=real.images, labels=real.labels, soft_labels=soft)
    for number, segment in enumerate(segments(Given(path=path, factor=factor), real)):
        start, ipc = sum(SIZES[:number]), SIZES[number]
        images = [6 * label + start + i for label in range(3) for i in range(ipc)]
        assert segment.soft_labels.dtype == torch.float32
        said = (segment.soft_labels[:, :2] * 64).round().int().tolist()
        # As images are decoded: tile 0 of all of them, tile 1 of all of them, ...
        assert said == [[i, t] for t in range(tiles) for i in images]
        assert decoded_parts([segment], real)[0].targets is not None


GOOD = {"images": torch.zeros(6, 1, 8, 8, dtype=torch.uint8), "labels": torch.tensor([0, 1, 2] * 2)}
SOFT = torch.full((6, 3), 1 / 3)


def wrong(row, *values):
    soft = SOFT.clone()
    soft[row] = torch.tensor(values)
    return {"soft_labels": soft}


REFUSED = {
    "no images": ({"images": None}, "must have a tensor 'images', got labels"),
    "no labels": ({"labels": None}, "must have a tensor 'labels', got images"),
    "fewer labels": ({"labels": GOOD["labels"][:-1]}, "must have a label for each of 6 images, got 5"),
    "labels": ({"labels": GOOD["labels"].float()}, "labels must be n integers, got F32 [6]"),
    "pixels": (
        {"images": GOOD["images"].float().index_fill(0, torch.tensor(4), -2.5)},
        "images[4] must have pixels in [0, 1], got -2.5",
    ),
    "sides": (
        {"images": torch.zeros(6, 1, 8, 9, dtype=torch.uint8)},
        "images must have the channels, height and width of the study's, (1, 8, 8), got (1, 8, 9)",
    ),
    "channels": (
        {"images": torch.zeros(6, 3, 8, 8, dtype=torch.uint8)},
        "images must have the channels, height and width of the study's, (1, 8, 8), got (3, 8, 8)",
    ),
    "another class": ({"labels": torch.tensor([0, 1, 2, 3, 1, 2])}, "labels must be in [0, 3), got 3"),
    "no class": ({"labels": torch.tensor([0, 1, 2, -1, 1, 2])}, "labels must be in [0, 3), got -1"),
    "too few": (
        {"labels": torch.tensor([0, 0, 1, 1, 0, 2])},
        "labels must have class 2 (class 2) at least 2 times, as often as all segments together take it, got 1",
    ),
    "nothing": (
        {"images": torch.zeros(0, 1, 8, 8, dtype=torch.uint8), "labels": torch.zeros(0, dtype=torch.long)},
        "labels must have class 0 (class 0) at least 2 times, as often as all segments together take it, got 0",
    ),
    "rows of soft labels": (
        {"soft_labels": SOFT[:5]},
        "soft_labels must be 6 x 3 floating point, a row for each training image that the images decode to,"
        " got F32 [5, 3]",
    ),
    "kind of soft labels": (
        {"soft_labels": SOFT.long()},
        "soft_labels must be 6 x 3 floating point, a row for each training image that the images decode to,"
        " got I64 [6, 3]",
    ),
    "logits": (
        wrong(3, -1.0, 4.0, 0.5),
        "soft_labels[3] must be >= 0 and add up to 1, got -1 at least and 3.5 in all (of logits, the softmax)",
    ),
    "negative": (
        wrong(2, -0.5, 1.0, 0.5),
        "soft_labels[2] must be >= 0 and add up to 1, got -0.5 at least and 1 in all (of logits, the softmax)",
    ),
    "not a number": (
        wrong(5, torch.nan, 0.5, 0.5),
        "soft_labels[5] must be >= 0 and add up to 1, got nan at least and nan in all (of logits, the softmax)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_does_not_go_with_the_study_is_one_line(tmp_path, blobs, case):
    """The same before the study begins, and when its set is read."""
    tensors, rule = REFUSED[case]
    path = written(tmp_path, **GOOD | tensors)
    for read in (Given(path=path).check, lambda *given: segments(Given(path=path), *given)):
        with pytest.raises(ConfigError) as caught:
            read(blobs, [1, 1])
        assert str(caught.value) == f"{path}: {rule}"


def test_a_file_that_is_none_is_named(tmp_path, blobs):
    (tmp_path / "set.safetensors").write_bytes(b"PK\3\4")
    for name in ("set.safetensors", "nowhere"):
        with pytest.raises(ConfigError, match=rf"^{tmp_path}/{name}: must be a readable safetensors file \([^\n]*\)$"):
            Given(path=str(tmp_path / name)).check(blobs, [1])


def test_a_good_file_is_not_refused_and_a_factor_below_one_is(tmp_path, blobs):
    given = Given(path=written(tmp_path, **GOOD, soft_labels=SOFT))
    assert given.files() == [given.path] and not given.nested
    given.check(blobs, [1, 1])
    with pytest.raises(ConfigError, match=r"^factor must be >= 1, got 0$"):
        Given(path="x", factor=0)
