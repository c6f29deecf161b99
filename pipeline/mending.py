"""Adds to errors about pictures the command that makes DVC read them again."""

from collections.abc import Iterator
from contextlib import contextmanager

from dasm.errors import ConfigError, ShortageError
from pipeline import layout

#: How DVC is told to read the files of a data set again. Without it, it may even bring back what was read before.
AGAIN = "`dvc repro --force prepare`"


@contextmanager
def mending() -> Iterator[None]:
    """Let errors of the block, which reads the data, say what to do once they are mended."""
    try:
        yield
    except ConfigError as error:
        # A folder of ours that cannot be written is no fault of the data.
        if str(error).startswith(f"{layout.REAL}:"):
            raise
        raise ConfigError(f"{error}; once that is mended: {AGAIN}") from error


@contextmanager
def adding(stage: str) -> Iterator[None]:
    """Let the block, if it has too few pictures to start from, name its stage and say how to go on with more."""
    try:
        yield
    except ShortageError as error:
        raise ConfigError(f"{stage}: {error}; after adding pictures: {AGAIN}") from error
