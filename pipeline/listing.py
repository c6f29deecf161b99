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


def listing(study: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the number of files of the data set, a digest of their paths and sizes, and one of its options.

    Returns:
        None of a data set without files that anybody but its publisher changes.

    Raises:
        ConfigError: they cannot be listed.
    """
    lines = []
    for path in sorted(params.section(study, Dataset, "data").files()):
        try:
            lines.append(f"{Path(path).stat().st_size} {path}\n")
        except OSError as error:
            raise ConfigError(f"{path}: must be a readable file ({error.strerror})") from error
    if not lines:
        return None
    digest = hashlib.blake2b("".join(lines).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return {"files": len(lines), "digest": digest, "options": params.digest(params.value(study, "data"))}


def recorded() -> dict[str, Any] | None:
    """Return what `prepare` listed; None where it has not run, or had nothing to list."""
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


def are_those_read(study: Mapping[str, Any]) -> bool:
    """Say whether the files, as far as they are at hand, are known to be those that `prepare` read."""
    before = recorded()
    return before is not None and before == here_or_recorded(study)


def changed(study: Mapping[str, Any]) -> str:
    """Say in one line how the files differ from those that `prepare` read, or nothing.

    Nothing is said either where the options of the data set are others, which DVC sees by itself.
    """
    before = recorded()
    if before is None or before["options"] != params.digest(params.value(study, "data")):
        return ""
    try:
        now = listing(study)
    except ConfigError as error:
        return f"{error}; `prepare` has read it"
    if now == before:
        return ""
    count = 0 if now is None else now["files"]
    how = f"{count} files, {before['files']} when" if count != before["files"] else "other names or sizes than when"
    return f"data: {how} `prepare` read them, which DVC does not see ({AGAIN}, then `dvc repro`)"


def warn(study: Mapping[str, Any]) -> None:
    """Say on stderr what `changed` says."""
    if said := changed(study):
        print(f"warning: {said}", file=sys.stderr)
