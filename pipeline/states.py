"""A state of an arm on disk: every segment so far, one file each, and what they add up to."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dasm.tables import read_segments, write_atomically, write_segment
from dasm.types import Segment


def write_state(
    folder: Path,
    before: Path | None,
    segments: Sequence[Segment],
    class_names: Sequence[str],
    provenance: dict[str, Any],
) -> None:
    """Write a state: the files of the state before it, byte for byte, and the new segments beside them.

    Args:
        folder: of the new state.
        before: folder of the state before, or None to start from nothing.
        segments: the new ones.
        class_names: in label order.
        provenance: goes into the footer of the new files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(before.glob("s*.parquet")) if before else []:
        shutil.copyfile(file, folder / file.name)
    for segment in segments:
        write_segment(folder / f"s{segment.index}.parquet", segment, class_names, provenance)
    whole = read_segments(folder)
    summary = {
        "segments": len(whole),
        "images_per_class": sum(segment.ipc for segment in whole),
        "iterations": sum(segment.iterations for segment in whole),
    }
    write_atomically(folder / "state.json", lambda path: path.write_text(json.dumps(summary, indent=1) + "\n"))


def read_summary(folder: Path) -> dict[str, int]:
    """Return the number of segments, images per class and iterations of a state."""
    summary: dict[str, int] = json.loads((folder / "state.json").read_text())
    return summary
