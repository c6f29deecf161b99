"""Whether sets made elsewhere go with the prepared images, before hours are spent on the arms that are distilled."""

from collections.abc import Mapping
from typing import Any

from dasm.coresets import Coreset
from dasm.images.store import META, read_split
from pipeline import layout, methods, params
from pipeline.graph import listing, sets


def check_given(study: Mapping[str, Any]) -> None:
    """Compare the sets of a study that are read from files with its real images, if these are prepared.

    Raises:
        ConfigError: one of them cannot be read, or has other images, other classes, or too few of them.
    """
    if not listing.is_read(study) or not (layout.REAL / META).exists():
        return
    real = read_split(layout.REAL, "train")
    for arm in params.value(study, "coresets"):
        methods.section(study, arm, "coreset", Coreset).check(real, sets.sizes(study))
