"""Whether the prepared images are enough for a study, before hours are spent on the first arm of it.

Every class has the training images that arms start from, and every network sees images of their size.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from dasm.errors import ConfigError
from dasm.images.splits import SPLITS
from dasm.images.store import META, array_file, read_split
from pipeline import layout
from pipeline.graph import listing
from pipeline.work.fitting import check_networks

#: The blueprint's list of what every arm starts from (`pipeline.graph.needs`). No stage depends on it, because a study
#: that grows need not decode its images again; `check` compares the larger study with the images that are there.
NEEDS = layout.BLUEPRINT / "needs.json"


def check_sizes(
    where: str, class_names: Sequence[str], train: Int64[np.ndarray, " n"], every: Int64[np.ndarray, " m"]
) -> None:
    """Compare the smallest class with the arm that wants most of it.

    Args:
        where: what messages call the data set.
        class_names: name of each class, in label order.
        train: label of every training image.
        every: label of every image, those held out or left out included.

    Raises:
        ConfigError: it has too few.
    """
    needs: list[Mapping[str, Any]] = json.loads(NEEDS.read_text())
    most = max(needs, key=lambda need: int(need["images"]))
    have, whole = (np.bincount(labels, minlength=len(class_names)) for labels in (train, every))
    small = np.flatnonzero(have < most["images"])
    if not len(small):
        return
    label = int(small[have[small].argmin()])
    others = f", and too few in {len(small)} classes in all" if len(small) > 1 else ""
    raise ConfigError(
        f"{where}: class {label} ({class_names[label]}) must have at least {most['images']} training images for"
        f" {most['who']} ({most['why']}), got {have[label]} of its {whole[label]} pictures{others}"
        " (add pictures, or make ipc of the segments or matching.factor smaller)"
    )


def check_prepared(study: Mapping[str, Any]) -> None:
    """Compare the images that lie in `data/real` with the blueprint, if they are those of the study.

    Raises:
        ConfigError: an arm starts from more of them than there are, or a network cannot see them.
    """
    if not listing.is_read(study) or not (layout.REAL / META).exists():
        return
    names = json.loads((layout.REAL / META).read_text())["class_names"]
    labels = [np.load(layout.REAL / array_file(split, "labels"), allow_pickle=False) for split in SPLITS]
    check_sizes("data", names, labels[SPLITS.index("train")], np.concatenate(labels))
    real = read_split(layout.REAL, "train")
    check_networks(real.image_shape, real.num_classes)
