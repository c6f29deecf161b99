"""Sets and scores made elsewhere: where their files lie, and whether they are those that `check` has read.

`check` depends on the folder, because a template in dvc.yaml cannot look up the file of an arm. It writes the digest of
an arm's own files into `arms/<arm>/coreset.json` or `selection.json`, so that only this arm's stages run again when
they change.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dasm.coresets import Coreset
from dasm.errors import ConfigError, require
from dasm.scores import Score
from pipeline import layout, params

#: Where they lie; put there by whoever has them.
FOLDER = Path("data/sets")


def sizes(study: Mapping[str, Any]) -> list[int]:
    """Return the stored images per class of every segment, in order."""
    return [params.value(study, f"segment.s{link['k']}.ipc") for link in params.value(study, "chain")]


def said(where: str, part: Coreset | Score) -> dict[str, dict[str, str]]:
    """Return a digest of every file that a part is read from: `files`, by path; nothing if it reads none.

    Args:
        where: what params.yaml calls the part, for messages.
        part: it.

    Raises:
        ConfigError: a file is missing, or lies where DVC does not look for changes.
    """
    found = {}
    for path in map(Path, part.files()):
        rule = f"{where}: path must be a file right in {FOLDER}"
        require(path.parent == FOLDER, rule, str(path), "DVC looks for changes there")
        try:
            with path.open("rb") as file:
                found[str(path)] = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        except OSError as error:
            raise ConfigError(f"{path}: must be a readable file ({error.strerror})") from error
    return {"files": found} if found else {}


def recorded(arm: str, block: str) -> dict[str, dict[str, str]]:
    """Return what the blueprint says of the files of a block of an arm, as `said` does."""
    content = json.loads((layout.BLUEPRINT / f"arms/{arm}/{block}.json").read_text())
    return {key: content[key] for key in ("files",) if key in content}


def settled(arm: str, block: str, part: Coreset | Score) -> dict[str, dict[str, str]]:
    """Return what the blueprint says of the files of a part of that block of an arm, once they have been read.

    Raises:
        ConfigError: they are others than `check` had read; DVC would file what is made of them under the old ones.
    """
    now = said(f"method.{arm}.{block}", part)
    if now and now != recorded(arm, block):
        raise ConfigError(
            f"{', '.join(now['files'])}: must stay as it is while stages run, got another one than `check` had read"
            " (`dvc repro` begins with `check`; by hand: `python -m pipeline check`)"
        )
    return now
