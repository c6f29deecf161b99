"""Which files a data set is read from: whether DVC watches them, and whether they are those that `prepare` read.

`watch` in params.yaml is what `prepare` depends on, because a template in dvc.yaml cannot look up where a data set
lies. DVC hashes it once, and later looks only into files whose size or time has changed. What `prepare` lists, by names
and sizes alone, is in its ledger entry, on which no distillation depends: for `walk`, which does without DVC, and for
`check`, which says of a study that grows whether the images that are there are enough.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dasm.data import Dataset
from dasm.errors import ConfigError, require
from pipeline import layout, params

_ENTRY = layout.LEDGER / "prepare.json"
_PACKAGE = Path("dasm")


def check_watched(study: Mapping[str, Any]) -> None:
    """Refuse a `watch` that would let pictures change unseen.

    It must be the folder (or the file) that the data set is read from, or one around it. A file of the user's own will
    do as well, for data that is too much to hash: it is what they change when the pictures have changed. Data sets
    without files of their own may name any file: nobody changes them.

    Raises:
        ConfigError: it is not there, is another folder, one that the pipeline writes into, or a file of this package
            that has nothing to do with the pictures; or the files cannot be listed.
    """
    watch = Path(params.value(study, "watch"))
    require(watch.exists(), "watch: must be a file or folder that is there", str(watch), "DVC looks for changes there")
    require(not _within(layout.REAL, watch), "watch: must be no folder that stages write into", str(watch))
    if not watch.is_dir() and not _within(watch, _PACKAGE):
        return
    folders = sorted({Path(path).parent for path in _paths(study)})
    unseen = [folder for folder in folders if not _within(folder, watch)]
    if unseen:
        linked = [f"{folder} leads out of it" for folder in unseen if folder.is_relative_to(watch)]
        where = linked[0] if linked else f"they lie in {os.path.commonpath(folders)}"
        rule = "watch: must be where the images lie, or a file that you change whenever they have changed"
        raise ConfigError(f"{rule}, got {str(watch)!r} ({where})")


def listing(study: Mapping[str, Any]) -> dict[str, Any]:
    """Return the number of files of the data set, a digest of their paths and sizes, and one of how they are read.

    No files are listed of embedded and downloaded data sets, whose files do not change.

    Raises:
        ConfigError: they cannot be listed.
    """
    lines = []
    for path in _paths(study):
        try:
            lines.append(f"{Path(path).stat().st_size} {path}\n")
        except OSError as error:
            raise ConfigError(f"{path}: must be a readable file ({error.strerror})") from error
    digest = hashlib.blake2b("".join(lines).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return {"files": len(lines), "digest": digest, "options": _options(study)}


def recorded() -> dict[str, Any] | None:
    """Return what `prepare` listed; None where it has not run."""
    with suppress(FileNotFoundError):
        found: dict[str, Any] | None = json.loads(_ENTRY.read_text()).get("listing")
        return found
    return None


def here_or_recorded(study: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the listing; where the files are not at hand, what was recorded of them, as nobody can read them again.

    Raises:
        ConfigError: they are at hand and cannot be listed.
    """
    try:
        return listing(study)
    except ConfigError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        return recorded()


def is_read(study: Mapping[str, Any]) -> bool:
    """Say whether `prepare` has read just these files, as far as they are at hand, and in the same way."""
    before = recorded()
    return before is not None and before["options"] == _options(study) and here_or_recorded(study) == before


def _paths(study: Mapping[str, Any]) -> list[str]:
    return sorted(params.section(study, Dataset, "data").files())


def _within(path: Path, folder: Path) -> bool:
    # Where links lead, because into a linked folder inside of what it watches DVC does not look.
    return path.resolve().is_relative_to(folder.resolve())


def _options(study: Mapping[str, Any]) -> str:
    return params.digest(params.value(study, "data"), params.value(study, "seed"))
