"""A stage works by the params.yaml and the code that `check` has read, from its first line to its last.

DVC writes into dvc.lock what it finds in params.yaml and in the blueprint after a stage, whatever the stage began with:
an edit meanwhile would file results under numbers or code that they were not made with, for good.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from dasm.errors import ConfigError, require
from pipeline import layout, params
from pipeline.graph import sources
from pipeline.graph.templates import stages

#: The part of the blueprint that no stage depends on.
NAME = "study"

_STUDY = layout.BLUEPRINT / f"{NAME}.json"
_WATCHED = (Path("params.yaml"), Path("dvc.yaml"))
_SUFFIXES = (".py", ".css", ".html", ".md")


def said(study: Mapping[str, Any]) -> dict[str, str]:
    """Return what the blueprint says of a study as a whole."""
    return {"digest": params.digest(study)}


def check_settled(study: Mapping[str, Any], code: Mapping[str, str]) -> None:
    """Refuse values and code that are others by now than those that `check` has read and written down.

    DVC would file the blueprint of the old ones under the new ones, and never make another.

    Args:
        study: what it has read.
        code: the digest of every source file that it has read.

    Raises:
        ConfigError: params.yaml, or a source file, says something else.
    """
    edited = (path for path, digest in code.items() if not _says(Path(path), digest))
    other = "params.yaml" if said(params.read()) != said(study) else next(edited, "")
    require(not other, f"{other}: must stay as it is while `check` runs", "others at its end", "start again")


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


class _Seen(NamedTuple):
    """What `check` had read when a stage began.

    Attributes:
        files: the text of every file of the blueprint. Kept, because `check` by hand writes them anew, while the stage
            works by what they said before.
        since: when they were written.
    """

    files: dict[Path, str]
    since: float

    @classmethod
    def now(cls) -> "_Seen | None":
        """Read them; None where nothing has been checked, as before a stage by hand."""
        try:
            since = _STUDY.stat().st_ctime
        except FileNotFoundError:
            return None
        return cls({path: path.read_text() for path in layout.BLUEPRINT.rglob("*.json")}, since)


@contextmanager
def steady(command: Sequence[str]) -> Iterator[None]:
    """Refuse, before the work and after it, values and code that `check` has not read. Comments are neither.

    Args:
        command: the stage and its arguments.

    Raises:
        ConfigError: there are such values, or such code among the stage's own, or `check` has read others meanwhile.
            DVC then takes the stage as failed, and keeps nothing of it.
    """
    seen = _Seen.now()
    if seen is None:
        yield
        return
    _look(command, seen, "")
    yield
    _look(command, seen, "; what this stage made meanwhile is not kept")


def _look(command: Sequence[str], seen: _Seen, more: str) -> None:
    try:
        read = json.loads(seen.files.get(_STUDY, ""))
    except ValueError:
        read = None  # `check` was cut short, or is at it
    study = params.read()
    other, what = ("params.yaml", "values") if read != said(study) else _edited(command, study, seen)
    if other:
        raise ConfigError(
            f"{other}: must stay as it is while stages run, got other {what} than `check` had read{more}"
            " (`dvc repro` begins with `check`; by hand: `python -m pipeline check`)"
        )


def _edited(command: Sequence[str], study: Mapping[str, Any], seen: _Seen) -> tuple[str, str]:
    """Name a file of the stage that says something else than when it began, and what it says; or nothing."""
    files = [path for name in sources.OURS for path in Path(name).rglob("*") if path.suffix in _SUFFIXES]
    touched = {str(path) for path in files if _changed(path) >= seen.since}
    if not touched and _changed(_STUDY) == seen.since:
        return "", ""  # as nearly always; telling which files are the stage's own takes a tenth of a second
    cmd = " ".join(["python -m pipeline", *command])
    deps = [Path(dep) for stage in stages(study) if stage.cmd == cmd for dep in stage.deps]
    parts = [dep for dep in deps if dep in seen.files]
    for part in parts:
        for path, digest in json.loads(seen.files[part])["sources"].items():
            if path in touched and not _says(Path(path), digest):
                return path, "code"
    # What `check` has written since is what DVC would file the results under.
    anew = (part for part in parts if part.exists() and part.read_text() != seen.files[part])
    return str(next(anew, "")), "options or code"


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
