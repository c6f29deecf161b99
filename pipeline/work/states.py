"""A state of an arm on disk: every segment so far, one file each, and what they add up to."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dasm.storage.files import write_json
from dasm.storage.lineage import Lineage
from dasm.tables import read_chain, segment_files, write_segment
from dasm.types import LabelledImages, Segment
from pipeline import layout, params


def write_state(
    folder: Path,
    before: Path | None,
    segment: Segment,
    real: LabelledImages,
    *,
    arm: str,
    recipe: Mapping[str, Any],
    scores: str | None = None,
    chain: Lineage | None = None,
    ahead: Sequence[Segment] = (),
) -> Lineage:
    """Write a state: the files of the state before it, byte for byte, and the new segment beside them.

    Every new file names the segment that it follows by its hash, so that a state of parts of different sets is refused.

    Args:
        folder: of the new state.
        before: folder of the state before, or None to start from nothing.
        segment: the new one.
        real: its class names and channel statistics travel with the set.
        arm: whose state it is.
        recipe: parameters that the segment depends on (`pipeline.work.recipes`).
        scores: hash of the window and ranks that the segment was distilled against, if there were any.
        chain: what `before` holds, from whoever has read or written it: to decode it again may take minutes.
        ahead: segments that later states add, which are no part of this one; those follow in a folder of their own.

    Returns:
        What the new state holds: every segment, each with its provenance.
    """
    folder.mkdir(parents=True, exist_ok=True)
    earlier = segment_files(before) if before else []
    chain = read_chain(earlier) if chain is None else chain
    for file in earlier:
        shutil.copyfile(file, folder / file.name)
    made = {"arm": arm, "scores": scores, "recipe": dict(recipe), "params": params.digest(recipe)}
    statistics = {"mean": real.mean.tolist(), "std": real.std.tolist()}
    whole = [*chain]
    for number, new in enumerate([segment, *ahead]):
        parent = whole[-1][1]["content"] if whole else None
        place = folder / layout.AHEAD if number else folder
        place.mkdir(exist_ok=True)
        provenance = {**made, **statistics, "parent": parent}
        written = write_segment(place / f"s{new.index}.parquet", new, real.class_names, provenance)
        whole.append((new, written))
    whole = whole[: len(chain) + 1]
    summary = {
        "segments": len(whole),
        "images_per_class": sum(segment.ipc for segment, _ in whole),
        "iterations": sum(segment.iterations for segment, _ in whole),
    }
    write_json(folder / "state.json", summary)
    return whole


def read_summary(folder: Path) -> dict[str, int]:
    """Return the number of segments, images per class and iterations of a state."""
    summary: dict[str, int] = json.loads((folder / "state.json").read_text())
    return summary
