"""What studies and arms may be called: their names are those of folders, of stages and of files."""

import re

#: The arm of the full training set.
FULL = "full"

#: What `is_name` asks for, in words.
NAME_RULE = "at most 64 letters, digits, - and _ alone"
_LONGEST = 64  # names of files are made of them, which most systems end at 255 bytes
#: Names of arms that other files and rows have: networks trained on real images, and the full training set.
TAKEN = ("real", FULL)


def is_name(text: str) -> bool:
    """Return whether text is fit to name a study or an arm."""
    return len(text) <= _LONGEST and re.fullmatch(r"\w[\w-]*", text) is not None
