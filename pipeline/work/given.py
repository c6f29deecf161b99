"""Whether what was made elsewhere goes with the prepared images, before hours are spent on what comes before it."""

from collections.abc import Mapping
from typing import Any

from dasm.coresets import Coreset
from dasm.images.store import META, read_split
from dasm.selection import Selection
from pipeline import layout, methods, params
from pipeline.graph import listing, sets


def check_given(study: Mapping[str, Any]) -> None:
    """Compare the sets and scores of a study that are read from files with its real images, if these are prepared.

    Raises:
        ConfigError: one of them cannot be read, or is of other images, other classes, or too few of them.
    """
    if not listing.is_read(study) or not (layout.REAL / META).exists():
        return
    real = read_split(layout.REAL, "train")
    if real.origin is None:
        return  # an earlier version has prepared them, which is done again
    for arm in params.value(study, "arms"):
        methods.section(study, arm, "selection", Selection).score.check(real)
    for arm in params.value(study, "coresets"):
        methods.section(study, arm, "coreset", Coreset).check(real, sets.sizes(study))
