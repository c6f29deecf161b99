from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from dasm.data import held_out, make_task
from dasm.data.digits import Digits
from dasm.errors import ConfigError


@pytest.fixture(scope="module")
def digits():
    return Digits().load(seed=0)


def splits(task):
    return (task.train, task.validation, task.test)


def rows(*parts):
    return Counter(
        (int(label), image.numpy().tobytes())
        for part in parts
        for image, label in zip(part.images, part.labels, strict=True)
    )


def test_the_splits_together_hold_every_digit_once(digits):
    bundle = load_digits()
    # 17 levels become 17 of the 256, black 0 and white 255.
    levels = [round(level * 255 / 16) for level in range(17)]
    expected = Counter(
        (int(label), bytes(levels[int(value)] for value in image.ravel()))
        for image, label in zip(bundle.images, bundle.target, strict=True)
    )
    assert rows(*splits(digits)) == expected
    assert digits.train.image_shape == (1, 8, 8)
    assert digits.train.images.min() == 0 and digits.train.images.max() == 255


def test_the_shares_are_those_asked_for(digits):
    assert [len(part) / 1797 for part in splits(digits)] == pytest.approx([0.6, 0.15, 0.25], abs=0.005)
    small = Digits(test=0.1, validation=0.5).load(seed=0)
    assert [len(part) / 1797 for part in splits(small)] == pytest.approx([0.4, 0.5, 0.1], abs=0.005)


def test_every_class_is_in_every_split_with_its_share(digits):
    for part in splits(digits):
        counts = torch.bincount(part.labels, minlength=10)
        assert counts.min() > 0.08 * len(part)
        assert part.class_names == tuple("0123456789")


def test_mean_and_spread_are_those_of_the_training_pixels(digits):
    pixels = digits.train.images.numpy().astype(np.float64) / 255
    for part in splits(digits):
        assert part.mean.tolist() == pytest.approx([pixels.mean()], rel=1e-6)
        assert part.std.tolist() == pytest.approx([pixels.std(ddof=0)], rel=1e-6)


def test_the_seed_decides_the_splits(digits):
    again, other = Digits().load(seed=0), Digits().load(seed=1)
    for first, second, third in zip(splits(digits), splits(again), splits(other), strict=True):
        assert torch.equal(first.images, second.images)
        assert rows(first) != rows(third)


def test_the_test_images_do_not_depend_on_the_validation_share(digits):
    assert torch.equal(Digits(validation=0.3).load(seed=0).test.images, digits.test.images)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"test": 0.0}, r"test must be in \(0, 1\), got 0.0"),
        ({"validation": 1.0}, r"validation must be in \(0, 1\), got 1.0"),
        ({"test": 0.6, "validation": 0.4}, r"test \+ validation must be < 1, got 1.0"),
    ],
)
def test_shares_that_leave_nothing_are_refused(options, rule):
    with pytest.raises(ConfigError, match=f"^{rule}$"):
        Digits(**options)


def test_held_out_images_are_a_share_of_every_class_in_data_order():
    labels = np.array([0] * 10 + [1] * 3 + [0] * 10)
    kept, out = held_out(labels, 0.25, 0)
    assert sorted([*kept, *out]) == list(range(23))
    assert kept.tolist() == sorted(kept) and out.tolist() == sorted(out)
    assert Counter(labels[out].tolist()) == {0: 5, 1: 1}


def test_a_class_of_one_image_cannot_be_split():
    with pytest.raises(ConfigError, match=r"^data: must have at least 2 images in class 1 to hold some out, got 1$"):
        held_out(np.array([0, 0, 1]), 0.5, 0)


def images_of(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_channel_statistics_are_those_of_numpy_and_come_from_the_training_images():
    train, other = images_of(6, 3, 4, 5), images_of(2, 3, 4, 5, seed=1)
    task = make_task((train, np.array([0, 1] * 3)), (other, np.array([0, 1])), (other, np.array([1, 1])), ("a", "b"))
    assert task.test.mean.tolist() == pytest.approx((train / 255).mean(axis=(0, 2, 3)), rel=1e-6)
    assert task.test.std.tolist() == pytest.approx((train / 255).std(axis=(0, 2, 3)), rel=1e-6)


def test_a_constant_channel_does_not_divide_by_zero():
    flat = np.full((2, 1, 2, 2), 7, dtype=np.uint8)
    split = (flat, np.array([0, 1]))
    task = make_task(split, split, split, ("a", "b"))
    assert task.train.std.tolist() == pytest.approx([1 / 255])
    assert task.train.inputs().tolist() == torch.zeros(2, 1, 2, 2).tolist()


def test_a_class_without_a_training_image_is_refused_by_name():
    split = (images_of(2, 1, 2, 2), np.array([0, 2]))
    with pytest.raises(ConfigError, match=r"^data: must have training images of every class, got none of 'b'$"):
        make_task(split, split, split, ("a", "b", "c"))


def test_splits_of_different_shapes_are_refused():
    small, large = (images_of(1, 1, 2, 2), np.array([0])), (images_of(1, 1, 3, 3), np.array([0]))
    with pytest.raises(ConfigError, match=r"^data: must have one image shape in all splits, got \[.*\]$"):
        make_task(small, small, large, ("a",))
