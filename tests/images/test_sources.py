import inspect
import threading
import time

import numpy as np
import pytest
import torch

from dasm.data import array_source
from dasm.errors import ConfigError, DamageError
from dasm.images.sources import Levels, Source, array_blocks, block_length
from tests.pictures import noise

NAMES = ("a", "b")


def source(images, labels, names=NAMES, **options):
    stored = {"train": (images, np.array(labels)), "test": (images[:2], np.array(labels[:2]))}
    return array_source("x", stored, names, **{"seed": 0, "validation": 0.3} | options)


def by_hand(count, blocks, splits=None):
    """A source of 1 x 1 images from given blocks; image 0 is validation, image 1 is test."""
    splits = splits or {"train": np.arange(2, count), "validation": np.array([0]), "test": np.array([1])}
    labels = np.arange(count) % 2
    return Source(where="x", class_names=NAMES, labels=labels, image_shape=(1, 1, 1), splits=splits, blocks=blocks)


def dots(*numbers):
    return np.array(numbers, dtype=np.uint8)[:, None, None, None]


def test_every_image_comes_with_its_split_in_stored_order():
    images, labels = noise(10, 3, 4, 5), [0, 1] * 5
    task, made = source(images, labels).task(), source(images, labels)
    for split in ("train", "validation"):
        assert (getattr(task, split).images.numpy() == images[made.splits[split]]).all()
        assert (getattr(task, split).labels.numpy() == np.array(labels)[made.splits[split]]).all()
    assert (task.test.images.numpy() == images[:2]).all()
    assert len(task.train) == 6 and len(task.validation) == 4


def test_channel_statistics_are_those_of_numpy_and_come_from_the_training_images():
    images = noise(10, 3, 4, 5)
    task = source(images, [0, 1] * 5).task()
    train = task.train.images.numpy() / 255
    for split in (task.train, task.validation, task.test):
        assert split.mean.tolist() == pytest.approx(train.mean(axis=(0, 2, 3)), rel=1e-6)
        assert split.std.tolist() == pytest.approx(train.std(axis=(0, 2, 3)), rel=1e-6)


def test_levels_of_parts_are_those_of_the_whole():
    images = noise(7, 3, 2, 2)
    whole, parts = Levels(3), Levels(3)
    whole.add(images)
    for start in range(0, 7, 3):
        parts.add(images[start : start + 3])
    assert parts.moments() == whole.moments()


def test_levels_are_counted_in_pieces_too_small_for_the_threads_of_torch(monkeypatch):
    """With two threads it would share out more than 32,767 pixels, and spin beside the decoders while it waits."""
    images, sizes, count = noise(3, 2, 150, 150), [], torch.bincount
    monkeypatch.setattr("torch.bincount", lambda pixels, **more: sizes.append(len(pixels)) or count(pixels, **more))
    levels = Levels(2)
    levels.add(images)
    assert max(sizes) < 32_768 and sum(sizes) == images.size
    mean, std = levels.moments()
    assert mean == pytest.approx((images / 255).mean(axis=(0, 2, 3)), rel=1e-9)
    assert std == pytest.approx((images / 255).std(axis=(0, 2, 3)), rel=1e-9)


def test_a_constant_channel_does_not_divide_by_zero():
    task = source(np.full((8, 1, 2, 2), 7, dtype=np.uint8), [0, 1] * 4).task()
    assert task.train.std.tolist() == pytest.approx([1 / 255])
    assert task.train.inputs().tolist() == torch.zeros(6, 1, 2, 2).tolist()


def test_blocks_come_in_order_however_long_they_take():
    def blocks():
        for number in range(20):
            delay = 0.02 if number % 5 == 0 else 0.0

            def block(number=number, delay=delay):
                time.sleep(delay)
                return dots(2 * number, 2 * number + 1)

            yield block

    task = by_hand(40, blocks).task()
    assert task.validation.images.flatten().tolist() == [0]
    assert task.test.images.flatten().tolist() == [1]
    assert task.train.images.flatten().tolist() == list(range(2, 40))


def test_blocks_are_decoded_side_by_side(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    meeting = threading.Barrier(2, timeout=10)

    def block():
        meeting.wait()
        return dots(0, 1)

    assert len(by_hand(8, lambda: iter([block] * 4)).task().train) == 6


def test_only_a_few_blocks_are_in_memory(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    begun = []

    def blocks():
        for number in range(100):
            begun.append(number)
            yield lambda: dots(0, 1)

    done = 0
    for _, images in by_hand(200, blocks).images():
        done += len(images) / 2
        assert len(begun) - done <= 6


def failing(*numbers, count=1000):
    """A source of so many images, some damaged; and the list of those that were begun."""
    begun = []

    def read(number):
        begun.append(number)
        if number in numbers:
            time.sleep(0.05 if number == min(numbers) else 0)
            raise ConfigError(f"image {number}")
        return dots(0)

    return by_hand(count, lambda: (lambda number=number: read(number) for number in range(count))), begun


def test_damaged_images_are_reported_together_and_in_order():
    made, begun = failing(3, 5, 90, count=100)
    with pytest.raises(DamageError, match=r"^image 3; image 5; image 90$"):
        made.task()
    assert len(begun) == 100
    made, _ = failing(90, count=100)
    with pytest.raises(ConfigError, match=r"^image 90$"):
        made.task()


def test_ten_damaged_images_are_enough_and_the_rest_is_left(monkeypatch):
    """Two threads are at work on the next few when the tenth turns out to be damaged."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    made, begun = failing(*range(5, 1000, 3))
    ten = "; ".join(f"image {number}" for number in range(5, 35, 3))
    with pytest.raises(DamageError, match=rf"^{ten} \(these are the first 10\)$"):
        made.task()
    assert len(begun) <= 33 + 5


def test_blocks_say_what_is_wrong_with_each_of_their_images():
    def block(start):
        raise DamageError([f"image {number}" for number in range(start, start + 4)])

    made = by_hand(8, lambda: (lambda start=start: block(start) for start in (0, 4)))
    with pytest.raises(DamageError) as caught:
        list(made.images())
    assert caught.value.found == [f"image {number}" for number in range(8)]


@pytest.mark.parametrize("count", [3, 5])
def test_a_set_that_changed_since_it_was_opened_is_refused(count):
    made = by_hand(4, lambda: array_blocks([dots(*range(count))]))
    with pytest.raises(ConfigError, match=f"^x: must hold 4 images as when it was opened, got {count}$"):
        list(made.images())


def test_blocks_are_small_for_large_images_and_many_for_small_ones():
    assert block_length((3, 224, 224)) == 13
    assert block_length((3, 32, 32)) == 256
    assert block_length((3, 4000, 4000)) == 1
    assert block_length((3, 32, 32), encoded_bytes=200_000) == 10


def test_a_class_without_a_training_image_is_refused_by_name():
    images = noise(8, 1, 2, 2)
    with pytest.raises(ConfigError, match=r"^x: must have training images of every class, got none of 'b'$"):
        source(images, [0, 2] * 4, ("a", "b", "c"))


def test_a_split_without_images_is_refused():
    splits = {"train": np.arange(4), "validation": np.arange(0), "test": np.arange(0)}
    with pytest.raises(ConfigError, match=r"^x: must have validation images, got 0$"):
        by_hand(4, lambda: iter(()), splits)


def test_splits_of_different_shapes_are_refused():
    labels = np.array([0, 1])
    stored = {"train": (noise(2, 1, 2, 2), labels), "test": (noise(2, 1, 3, 3), labels)}
    with pytest.raises(ConfigError, match=r"^x: must have one image shape in all splits, got \[.*\]$"):
        array_source("x", stored, NAMES, seed=0, validation=0.5)


def test_a_label_too_few_is_refused():
    stored = {"train": (noise(3, 1, 2, 2), np.array([0, 1]))}
    with pytest.raises(ConfigError, match=r"^x: must have a label for each train image, got 2 for 3$"):
        array_source("x", stored, NAMES, seed=0, validation=0.2, test=0.2)


@pytest.mark.parametrize(
    ("images", "labels", "rule"),
    [
        (np.zeros((20, 3, 4, 5), int), None, r"images must be uint8 \(3, 4, 5\), got 'int64 \(3, 4, 5\)'"),
        (np.zeros((20, 3, 4, 5)), None, r"images must be uint8 \(3, 4, 5\), got 'float64 \(3, 4, 5\)'"),
        (noise(20, 4, 5), None, r"images must have 1 or 3 channels, height and width, got \(4, 5\)"),
        (noise(20, 4, 4, 5), None, r"images must have 1 or 3 channels, height and width, got \(4, 4, 5\)"),
        (noise(20, 3, 4, 5), np.arange(20.0) % 2, "labels must be integers, got 'float64'"),
    ],
)
def test_arrays_of_another_kind_are_refused_before_they_are_written_as_bytes(images, labels, rule):
    """What somebody's own data set may return: nothing checks its types outside of tests."""
    labels = np.arange(20) % 2 if labels is None else labels
    splits = {"train": np.arange(10, 20), "validation": np.arange(5), "test": np.arange(5, 10)}

    def made():
        unchecked = object.__new__(Source)
        parts = {"where": "x", "class_names": NAMES, "labels": labels, "image_shape": images.shape[1:]}
        for name, value in {**parts, "splits": splits, "blocks": lambda: iter([lambda: images])}.items():
            object.__setattr__(unchecked, name, value)
        inspect.unwrap(Source.__post_init__)(unchecked)
        return list(inspect.unwrap(Source.images)(unchecked))

    with pytest.raises(ConfigError, match=f"^x: {rule}$"):
        made()
