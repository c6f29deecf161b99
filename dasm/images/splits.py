"""Which images are for training, for choices and for the benchmark: as the data set says, the rest drawn by seed."""

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Int64

from dasm import rng
from dasm.errors import ConfigError

SPLITS = ("train", "validation", "test")

_VALIDATION = ("val", "valid", "validation")
# What else they are called, in any case; a class may be, too, but not two of them.
_LIKE = ("train", "training", "test", "testing", *_VALIDATION)


def stored_splits(present: Collection[str], where: str) -> dict[str, str]:
    """Say which of the folders or files of a data set is which split.

    `train` and `test` are what they say. One of `val`, `valid` and `validation` is for choices; where there is no
    `test`, it is the benchmark, as for ImageNet.

    Args:
        present: names found, others than these included.
        where: what messages call the data set.

    Returns:
        The name of each split that there is; none at all if there is no benchmark.

    Raises:
        ConfigError: two names for the same split, a benchmark and nothing to learn from, or the other way round; names
            that are nearly those of splits.
    """
    held = [name for name in _VALIDATION if name in present]
    if len(held) > 1:
        raise ConfigError(f"{where}: must have one of {', '.join(_VALIDATION)}, got {' and '.join(held)}")
    if set(present) == {"train"}:
        raise ConfigError(f"{where}: must have test or one of {', '.join(_VALIDATION)} beside train, got train alone")
    if not held and "test" not in present:
        like = sorted(name for name in present if name.casefold() in _LIKE and name != "train")
        if len(like) > ("train" not in present):
            raise ConfigError(f"{where}: must call its splits train and test (and val), got {' and '.join(like)}")
        return {}
    if "train" not in present:
        raise ConfigError(f"{where}: must have train beside {(*held, 'test')[0]}, got none")
    if "test" not in present:
        return {"train": "train", "test": held[0]}
    return {"train": "train", "test": "test"} | ({"validation": held[0]} if held else {})


def check_names(class_names: Sequence[str], where: str) -> None:
    """Refuse fewer than two classes, and names that are not text or look the same.

    Names that differ only in the way Unicode composes their accents do look the same; some systems take them for one.
    Names that differ in case are different.
    """
    k = len(class_names)
    if k < 2:
        raise ConfigError(f"{where}: must have at least 2 classes, got {k} ({', '.join(class_names) or 'none'})")
    seen: dict[str, str] = {}
    for name in class_names:
        if not name or any(unicodedata.category(letter) in ("Cs", "Cc") for letter in name):
            raise ConfigError(f"{where}: class names must be text, got {name!r}")
        composed = unicodedata.normalize("NFC", name)
        if composed in seen:
            raise ConfigError(f"{where}: class names must differ, got {seen[composed]!r} and {name!r}")
        seen[composed] = name


def check_labels(labels: Int64[np.ndarray, " n"], k: int, where: str) -> None:
    """Refuse labels that name none of k classes."""
    wrong = labels[(labels < 0) | (labels >= k)]
    if len(wrong):
        raise ConfigError(f"{where}: labels must be in [0, {k}), got {wrong[0]}")


def complete_splits(
    stored: Mapping[str, Int64[np.ndarray, " _"]],
    class_names: Sequence[str],
    *,
    where: str,
    seed: int,
    validation: float,
    test: float | None = None,
) -> dict[str, Int64[np.ndarray, " _"]]:
    """Hold out, class by class at random, the splits that a data set does not come with.

    Args:
        stored: labels of the splits that it comes with, in stored order; `train` at least.
        class_names: name of each class, in label order.
        where: what messages call the data set.
        seed: root seed of the draw.
        validation: share held out for choices: of the training images of every class if there is a test split, else
            of all images of every class.
        test: share of all images of every class held out for the benchmark; needed if there is no test split.

    Returns:
        Ascending indices of `train`, `validation` and `test` into all images in stored order.

    Raises:
        ConfigError: names or labels that are refused above; a class with too few images to give one to each side.
    """
    ends = np.cumsum([len(labels) for labels in stored.values()])
    splits = {name: np.arange(end - len(stored[name]), end) for name, end in zip(stored, ends, strict=True)}
    labels = np.concatenate(list(stored.values()))
    check_names(class_names, where)
    check_labels(labels, len(class_names), where)
    draw = partial(held_out, class_names=class_names, where=where)
    share, stream = validation, rng.derive(seed, "split", "validation")
    if "test" not in splits:
        assert test is not None
        share, stream = validation / (1 - test), rng.derive(rng.derive(seed, "split"), "validation")
        kept, out = draw(labels[splits["train"]], test, rng.derive(rng.derive(seed, "split"), "test"))
        splits |= {"train": splits["train"][kept], "test": splits["train"][out]}
    if "validation" not in splits:
        kept, out = draw(labels[splits["train"]], share, stream)
        splits |= {"train": splits["train"][kept], "validation": splits["train"][out]}
    return splits


def held_out(
    labels: Int64[np.ndarray, " n"], share: float, stream: int, class_names: Sequence[str], where: str
) -> tuple[Int64[np.ndarray, " _"], Int64[np.ndarray, " _"]]:
    """Split indices class by class at random.

    Args:
        labels: class index of each image.
        share: of every class that is held out, in (0, 1); rounded, but at least one image.
        stream: of the random order.
        class_names: for messages.
        where: likewise.

    Returns:
        Indices kept and indices held out, both in data order.

    Raises:
        ConfigError: a class has too few images to give one to each side.
    """
    kept, out = [], []
    for label in np.unique(labels).tolist():
        members = np.flatnonzero(labels == label)
        count = max(1, round(share * len(members)))
        if count >= len(members):
            raise ConfigError(
                f"{where}: must have more than {count} images of class {class_names[label]!r} to hold {count} out"
                f" of those that are left, got {len(members)}"
            )
        order = torch.randperm(len(members), generator=rng.generator(stream, "class", label)).numpy()
        out.append(members[order[:count]])
        kept.append(members[order[count:]])
    return np.sort(np.concatenate(kept)), np.sort(np.concatenate(out))
