from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dasm.errors import ConfigError
from dasm.images.splits import check_labels, check_names, complete_splits, held_out, stored_splits

NAMES = ("a", "b")


def refused(function, *arguments, **options):
    with pytest.raises(ConfigError) as caught:
        function(*arguments, **options)
    return str(caught.value)


def test_held_out_images_are_a_share_of_every_class_in_data_order():
    labels = np.array([0] * 10 + [1] * 3 + [0] * 10)
    kept, out = held_out(labels, 0.25, 0, NAMES, "x")
    assert sorted([*kept, *out]) == list(range(23))
    assert kept.tolist() == sorted(kept) and out.tolist() == sorted(out)
    assert Counter(labels[out].tolist()) == {0: 5, 1: 1}


def test_every_class_is_drawn_by_itself():
    """Classes of the same size do not hold out images at the same places."""
    _, out = held_out(np.array([0] * 40 + [1] * 40), 0.5, 0, NAMES, "x")
    assert {int(i) for i in out if i < 40} != {int(i) - 40 for i in out if i >= 40}


def test_a_class_of_one_image_cannot_be_split():
    message = refused(held_out, np.array([0, 0, 1]), 0.5, 0, NAMES, "x")
    assert message == "x: must have more than 1 images of class 'b' to hold 1 out of those that are left, got 1"


def complete(stored, **options):
    stored = {split: np.array(labels) for split, labels in stored.items()}
    return complete_splits(stored, NAMES, **{"where": "x", "seed": 0, "validation": 0.2, "test": 0.3} | options)


@given(
    st.lists(st.integers(3, 40), min_size=2, max_size=2),
    st.integers(0, 5),
    st.booleans(),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_every_image_is_in_exactly_one_split_and_every_class_in_all_drawn_ones(counts, seed, test, validation, random):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    random.shuffle(labels)
    stored = (
        {"train": labels} | ({"test": [1, 0]} if test else {}) | ({"validation": [0]} if test and validation else {})
    )
    splits = complete(stored, seed=seed)
    total = sum(map(len, stored.values()))
    assert sorted(index for indices in splits.values() for index in indices.tolist()) == list(range(total))
    everything = np.concatenate([np.array(labels) for labels in stored.values()])
    for split, indices in splits.items():
        assert indices.tolist() == sorted(indices.tolist())
        if split not in stored or split == "train":
            assert set(everything[indices].tolist()) == {0, 1}
    start = len(labels)
    for split in list(stored)[1:]:
        assert splits[split].tolist() == list(range(start, start + len(stored[split])))
        start += len(stored[split])


def test_shares_are_of_all_images_without_a_test_split_and_of_training_images_with_one():
    labels = [0, 1] * 50
    assert {split: len(i) for split, i in complete({"train": labels}).items()} == {
        "train": 50,
        "test": 30,
        "validation": 20,
    }
    with_test = complete({"train": labels, "test": [0, 1]}, test=None)
    assert {split: len(i) for split, i in with_test.items()} == {"train": 80, "test": 2, "validation": 20}


def test_the_seed_decides_and_the_test_images_do_not_depend_on_the_validation_share():
    labels = [0, 1] * 50
    first, second, other = complete({"train": labels}), complete({"train": labels}), complete({"train": labels}, seed=1)
    assert all((first[split] == second[split]).all() for split in first)
    assert first["test"].tolist() != other["test"].tolist()
    assert first["validation"].tolist() != other["validation"].tolist()
    assert complete({"train": labels}, validation=0.4)["test"].tolist() == first["test"].tolist()


def test_splits_that_are_stored_are_left_alone_in_any_order():
    stored = {"test": [0, 1], "train": [0, 1, 1], "validation": [1, 0]}
    assert {split: i.tolist() for split, i in complete(stored).items()} == {
        "test": [0, 1],
        "train": [2, 3, 4],
        "validation": [5, 6],
    }


def test_a_label_without_a_class_is_refused_before_anything_is_drawn():
    assert refused(complete, {"train": [0, 0, 1, 1, 2]}) == "x: labels must be in [0, 2), got 2"


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        (["train", "test"], {"train": "train", "test": "test"}),
        (["train", "val"], {"train": "train", "test": "val"}),
        (["train", "valid"], {"train": "train", "test": "valid"}),
        (["train", "validation", "x"], {"train": "train", "test": "validation"}),
        (["train", "val", "test"], {"train": "train", "test": "test", "validation": "val"}),
        (["cat", "dog"], {}),
        (["train", "car"], {}),  # things on wheels
        (["Test", "Paper"], {}),
        ([], {}),
    ],
)
def test_split_names_say_what_they_are(present, expected):
    assert stored_splits(present, "x") == expected


@pytest.mark.parametrize(
    ("present", "rule"),
    [
        (["train"], "must have test or one of val, valid, validation beside train, got train alone"),
        (["test"], "must have train beside test, got none"),
        (["val", "test"], "must have train beside val, got none"),
        (["Training", "Testing"], "must call its splits train and test (and val), got Testing and Training"),
        (["TRAIN", "TEST", "x"], "must call its splits train and test (and val), got TEST and TRAIN"),
        (["train", "Val"], "must call its splits train and test (and val), got Val"),
        (["train", "val", "valid"], "must have one of val, valid, validation, got val and valid"),
    ],
)
def test_splits_that_cannot_be_told_are_refused(present, rule):
    assert refused(stored_splits, present, "x") == f"x: {rule}"


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        ([], "must have at least 2 classes, got 0 (none)"),
        (["cats"], "must have at least 2 classes, got 1 (cats)"),
        (["cat", "dog", "cat"], "class names must differ, got 'cat' and 'cat'"),
        (["café", "cafe\u0301"], "class names must differ, got 'café' and 'cafe\u0301'"),
        (["a", ""], "class names must be text, got ''"),
        (["a", "b\nc"], "class names must be text, got 'b\\nc'"),
        (["a", "\udc80"], "class names must be text, got '\\udc80'"),
    ],
)
def test_names_that_are_no_classes_are_refused(names, rule):
    assert refused(check_names, names, "x") == f"x: {rule}"


def test_names_that_differ_in_case_or_script_are_classes():
    check_names(["a", "A", "ß", "猫", "🐱 cat"], "x")


@pytest.mark.parametrize("wrong", [-1, 2])
def test_labels_out_of_range_are_refused(wrong):
    assert refused(check_labels, np.array([0, 1, wrong]), 2, "x") == f"x: labels must be in [0, 2), got {wrong}"
