"""A stage works by the params.yaml and the code that `check` has read, from its first line to its last.

DVC writes into dvc.lock what it finds in params.yaml and in the blueprint after a stage, whatever the stage began with:
an edit meanwhile would file results under numbers or code that they were not made with, for good.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dasm.errors import ConfigError
from pipeline import layout, params
from pipeline.graph import sources
from pipeline.graph.templates import stages

#: The part of the blueprint that no stage depends on.
NAME = "study"

_WATCHED = (Path("params.yaml"), Path("dvc.yaml"))
_SUFFIXES = (".py", ".css", ".html", ".md")


def said(study: Mapping[str, Any]) -> dict[str, str]:
    """Return what the blueprint says of a study as a whole."""
    return {"digest": params.digest(study)}


class Watched:
    """The values of params.yaml and dvc.yaml when the run began. Comments are none, as for the stages."""

    def __init__(self) -> None:
        """Read them."""
        self._bytes = [path.read_bytes() for path in _WATCHED]
        self._values = [params.read(path) for path in _WATCHED]

    def is_another(self) -> bool:
        """Say whether they are others by now; what cannot be read is half saved, and waits for the next look."""
        with suppress(ConfigError, FileNotFoundError):
            if (now := [path.read_bytes() for path in _WATCHED]) != self._bytes:
                if [params.read(path) for path in _WATCHED] != self._values:
                    return True
                self._bytes = now  # parsed once for each save
        return False


@contextmanager
def steady(command: Sequence[str]) -> Iterator[None]:
    """Refuse, before the work and after it, values and code that `check` has not read. Comments are neither.

    Args:
        command: the stage and its arguments.

    Raises:
        ConfigError: there are such values, or such code among the stage's own. DVC then takes the stage as failed, and
            keeps nothing of it.
    """
    _look(command, "")
    yield
    _look(command, "; what this stage made meanwhile is not kept")


def _look(command: Sequence[str], more: str) -> None:
    file = layout.BLUEPRINT / f"{NAME}.json"
    if not file.exists():
        return  # a stage by hand, where nothing has been checked
    try:
        read = json.loads(file.read_text())
    except ValueError:
        read = None  # `check` was cut short
    study = params.read()
    other = "params.yaml" if read != said(study) else _edited(command, study, file.stat().st_ctime)
    if other:
        what = "values" if other == "params.yaml" else "code"
        raise ConfigError(
            f"{other}: must stay as it is while stages run, got other {what} than `check` read{more}"
            " (`dvc repro` begins with `check`; by hand: `python -m pipeline check`)"
        )


def _edited(command: Sequence[str], study: Mapping[str, Any], since: float) -> str:
    """Name a source file of the stage that says something else than in the blueprint, or nobody."""
    files = [path for name in sources.OURS for path in Path(name).rglob("*") if path.suffix in _SUFFIXES]
    touched = {str(path) for path in files if _changed(path) >= since}
    if not touched:  # as nearly always; telling which files are the stage's own takes a tenth of a second
        return ""
    cmd = " ".join(["python -m pipeline", *command])
    deps = [Path(dep) for stage in stages(study) if stage.cmd == cmd for dep in stage.deps]
    for part in (dep for dep in deps if layout.BLUEPRINT in dep.parents):
        for path, digest in json.loads(part.read_text())["sources"].items():
            if path in touched and not _says(Path(path), digest):
                return path
    return ""


def _changed(path: Path) -> float:
    try:
        return path.stat().st_ctime
    except FileNotFoundError:  # an editor is at it
        return 0.0


def _says(path: Path, digest: str) -> bool:
    try:
        return sources.digests([path]) == {str(path): digest}
    except (SyntaxError, FileNotFoundError):  # half saved, or gone since
        return False
