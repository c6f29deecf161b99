"""What studies and arms may be called: their names are those of folders, of stages and of files."""

import re

#: The arm of the full training set.
FULL = "full"

#: What `is_name` asks for, in words.
NAME_RULE = "letters, digits, - and _ alone"
#: Names of arms that other files and rows have: networks trained on real images, and the full training set.
TAKEN = ("real", FULL)


def is_name(text: str) -> bool:
    """Return whether text is fit to name a study or an arm."""
    return re.fullmatch(r"\w[\w-]*", text) is not None
