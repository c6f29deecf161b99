import hashlib
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from dasm.data.digits import Digits
from dasm.errors import ConfigError
from dasm.images.prepare import write_source


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


def test_the_arrays_that_the_committed_study_rests_on(tmp_path):
    write_source(tmp_path / "real", Digits(test=0.25, validation=0.15).open(seed=0))
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:8] for path in (tmp_path / "real").iterdir()}
    assert digests == {
        "meta.json": "bc9e73ad",
        "test.images.npy": "3b9335c8",
        "test.labels.npy": "53e5428c",
        "train.images.npy": "0046e2c3",
        "train.labels.npy": "c4cb83ed",
        "train.origin.npy": "6f74573f",
        "validation.images.npy": "ba67c1a6",
        "validation.labels.npy": "9d222878",
    }


def test_a_set_that_is_named_and_not_opened_costs_no_import_of_scikit_learn():
    """As in `check`, which says within seconds what is wrong."""
    code = "import sys; from dasm.data.digits import Digits; Digits(); sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
