"""Work that another arm has done already: the same inputs, so the same outcome, taken over instead of done again.

Many arms of a study begin alike: without a window the first segment is the same under every window and coupling, and so
are its evaluators and their scores. A stage writes into its entry of the ledger a hash of all that its work depends on,
the files that it made and their hashes. A later one that is about to do the same work takes these files' content, and
their cost: an arm is charged what it would cost alone. Nothing is kept for this; files that have changed or gone are
nobody's twin. `DASM_TWINS=0` in the environment does all work anew.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final

from torch import Tensor

from dasm.machine import ranks
from dasm.storage import lineage
from dasm.types import Segment
from pipeline import layout

#: What an entry of the ledger says of cost.
COST = (
    "seconds",
    "earlier_seconds",
    "forward_images",
    "backward_images",
    "flops",
    "device",
    "peak_memory_mb",
    "threads",
    "processes",
)

_LOCK = Path(".checkpoints/lock")
# What of a segment makes no difference to those after it.
_IDLE = ("lower", "upper", "iterations")


@final
class Twin:
    """Finished work of another stage.

    Attributes:
        name: of that stage.
        files: copies of what it made, which nobody else changes or clears.
    """

    def __init__(self, entry: Mapping[str, Any], origin: str, files: Sequence[Path]) -> None:
        """Read an entry of the ledger, whose work was first done under the entry `origin`."""
        self._entry = entry
        self._origin = origin
        self.name = str(entry.get("taken_from", entry["name"]))
        self.files = files

    def charge(self, entry: dict[str, Any], *more: str) -> None:
        """Put its cost into the entry of whoever takes it over, and whatever `more` of its own entry is wanted."""
        entry |= {key: self._entry[key] for key in (*COST, *more) if key in self._entry}
        entry |= {"taken_from": self.name, "origin": self._origin}


@contextmanager
def sought(work: str, own: str) -> Iterator[Twin | None]:
    """Look for finished work with this hash; meanwhile nobody else begins it.

    A stage that is forced to run again ignores its own earlier result, and copies that others took of it.

    Whoever wants the same work at the same time waits, and then takes it over: its entry of the ledger has to be closed
    inside. Several processes that share one piece of work would wait for each other: they do it anew.
    """
    if os.environ.get("DASM_TWINS") == "0" or ranks.count() > 1:
        yield None
        return
    _LOCK.parent.mkdir(exist_ok=True)
    with _LOCK.open("w") as file, ExitStack() as kept:
        # A byte of its own for every work, and none of them is ever written. It is free again when the process ends.
        fcntl.lockf(file, fcntl.LOCK_EX, 1, int(work[:15], 16))
        # Made when there is something to copy: a stage that is killed at its work leaves no folder behind.
        yield find(work, own, lambda: Path(kept.enter_context(TemporaryDirectory(prefix="twin-", dir=_LOCK.parent))))


def find(work: str, own: str, room: Callable[[], Path]) -> Twin | None:
    """Return work with this hash that was not done under the entry `own`, and whose files are as they were made.

    Args:
        work: the hash.
        own: name of one's own entry.
        room: makes an empty folder for copies of the files.
    """
    for path in sorted(layout.LEDGER.glob("*.json")):
        content = _read(path)
        if content is not None and work.encode() in content:
            entry = json.loads(content)
            origin, files = entry.get("origin", path.stem), entry.get("files", {})
            if entry.get("work") != work or own in (path.stem, origin):
                continue
            contents = {Path(file): _read(Path(file)) for file in files}
            if all(_digest(content) == files[str(file)] for file, content in contents.items()):
                copies = room()
                for file, content in contents.items():
                    (copies / file.name).write_bytes(content or b"")
                return Twin(entry, origin, [copies / file.name for file in contents])
    return None


def record(entry: dict[str, Any], work: str, files: Iterable[Path]) -> None:
    """Say in an entry of the ledger what work was done and what it made."""
    entry["work"] = work
    entry["files"] = {str(file): _digest(_read(file)) for file in files}


def described(segments: Sequence[Segment]) -> tuple[list[dict[str, Any]], list[Tensor]]:
    """Return what work that goes on from these segments depends on: plain values and tensors."""
    described = [lineage.parts(segment) for segment in segments]
    values = [{name: value for name, value in plain.items() if name not in _IDLE} for _, plain in described]
    return values, [tensor for tensors, _ in described for _, tensor in sorted(tensors.items())]


def _digest(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:  # also between two looks: DVC clears the outputs of a stage that it is about to run
        return None
