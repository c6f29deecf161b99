"""A stage works by the params.yaml that `check` has read, from its first line to its last.

DVC writes into dvc.lock what it finds in params.yaml after a stage, whatever the stage began with: an edit meanwhile
would file results under numbers that they were not made with, for good.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dasm.errors import ConfigError
from pipeline import layout, params

#: The part of the blueprint that no stage depends on.
NAME = "study"


def said(study: Mapping[str, Any]) -> dict[str, str]:
    """Return what the blueprint says of a study as a whole."""
    return {"digest": params.digest(study)}


@contextmanager
def steady() -> Iterator[None]:
    """Refuse, before the work and after it, values of params.yaml that `check` has not read. Comments are no values.

    Raises:
        ConfigError: there are such values. DVC then takes the stage as failed, and keeps nothing of it.
    """
    _look("")
    yield
    _look("; what this stage made meanwhile is not kept")


def _look(more: str) -> None:
    file = layout.BLUEPRINT / f"{NAME}.json"
    if not file.exists():
        return  # a stage by hand, where nothing has been checked
    try:
        read = json.loads(file.read_text())
    except ValueError:
        read = None  # `check` was cut short
    if read != said(params.read()):
        raise ConfigError(
            f"params.yaml: must stay as it is while stages run, got other values than `check` read{more}"
            " (`dvc repro` begins with `check`; by hand: `python -m pipeline check`)"
        )
