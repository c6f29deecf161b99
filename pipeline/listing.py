"""Whether the files that a data set is read from are still those that `prepare` read: by their names and sizes alone.

DVC does not know these files: it would have to read all of them to say that nothing has changed. Listing a hundred
thousand takes a second. What `prepare` listed is in its ledger entry, on which no distillation depends: pictures that
are only called something else are read again, and everything after that finds the same images.
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dasm.data import Dataset
from dasm.errors import ConfigError
from pipeline import layout, params
from pipeline.mending import AGAIN

_ENTRY = layout.LEDGER / "prepare.json"


def listing(study: Mapping[str, Any]) -> dict[str, Any]:
    """Return the number of files of the data set, a digest of their paths and sizes, and one of how they are read.

    No files are listed of embedded and downloaded data sets, whose files do not change.

    Raises:
        ConfigError: they cannot be listed.
    """
    lines = []
    for path in sorted(params.section(study, Dataset, "data").files()):
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


def compared(study: Mapping[str, Any]) -> tuple[bool, str]:
    """Compare the files with those that `prepare` read.

    Returns:
        Whether they are known to be those, as far as they are at hand; and in one line how they differ, or nothing.
        Nothing is said either where they are to be read otherwise, which DVC sees by itself.
    """
    before = recorded()
    if before is None or before["options"] != _options(study):
        return False, ""
    try:
        now = listing(study)
    except ConfigError as error:
        return isinstance(error.__cause__, FileNotFoundError), f"{error}; `prepare` has read it"
    if now == before:
        return True, ""
    more = now["files"] != before["files"]
    how = f"{now['files']} files, {before['files']} when" if more else "other names or sizes than when"
    return False, f"data: {how} `prepare` read them, which DVC does not see ({AGAIN}, then `dvc repro`)"


def warn(study: Mapping[str, Any]) -> bool:
    """Say on stderr how the files differ from those that `prepare` read; return whether they are known to be those."""
    known, said = compared(study)
    if said:
        print(f"warning: {said}", file=sys.stderr)
    return known


def _options(study: Mapping[str, Any]) -> str:
    return params.digest(params.value(study, "data"), params.value(study, "seed"))
