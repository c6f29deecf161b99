"""`python -m pipeline plan K`: rewrite the blocks of params.yaml that say how many segments there are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from dasm.errors import require
from dasm.plugins import build
from dasm.segments import SegmentPlan
from dasm.storage.files import write_atomically
from pipeline import params

# DVC takes minutes to lay out the stages of more.
_MOST = 1000


def main(segments: int, *, path: str = "params.yaml") -> None:
    """Give the study K segments; those that are missing copy the one before them, and comments stay.

    `planned_ipc` is not touched: it belongs to the identity of every segment that is already there.

    Raises:
        ConfigError: no number of segments, or blocks that are no lists of links or no segments; nothing is written.
    """
    require(1 <= segments <= _MOST, f"plan: the number of segments must be in [1, {_MOST}]", segments)
    _check(params.read(Path(path)))
    yaml = _as_it_is_written()
    study = yaml.load(Path(path))
    have, want, kept = len(study["chain"]), segments, study["segment"]
    # A study that leaves out the score after its last segment goes on leaving it out, down to the last link, on which
    # the comment after the block hangs; that of one segment has always come down to it.
    without = len(study["rescore"]) < have or have == 1
    _resize(study["rescore"], max(1, want - without))
    _resize(study["chain"], want)
    for k in range(want):
        if f"s{k}" not in kept:
            kept[f"s{k}"] = _flow(dict(kept[f"s{k - 1}"]))
    for name in [*kept]:
        if name not in {f"s{k}" for k in range(want)}:
            del kept[name]
    states = study["benchmark"]["states"]
    states[:] = [n for n in states if n <= want] + list(range(have + 1, want + 1)) or [want]

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as file:
            yaml.dump(study, file)

    write_atomically(Path(path), write)
    total = sum(segment["ipc"] for segment in study["segment"].values())
    print(f"{segments} segments, {total} images per class; planned_ipc is {study['planned_ipc']}")


def _check(found: Mapping[str, Any]) -> None:
    for block in ("chain", "rescore", "benchmark.states"):
        links = params.value(found, block)
        require(isinstance(links, list), f"{block} must be a list", links)
    states = params.value(found, "benchmark.states")
    require(all(type(n) is int for n in states), "benchmark.states must be numbers of segments", states)
    params.value(found, "planned_ipc")
    kept = params.value(found, "segment")
    known = isinstance(kept, Mapping) and "s0" in kept
    require(known, "segment must have at least s0, which others are copied from", kept)
    for name, options in kept.items():
        build(SegmentPlan, options, f"segment.{name}")


def _as_it_is_written() -> YAML:
    """Return what leaves all that it does not change as it stands, but for lists over several lines."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # folds no text
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(type(None), lambda to, _: to.represent_scalar("tag:yaml.org,2002:null", "null"))
    return yaml


def _resize(links: list[object], length: int) -> None:
    del links[length:]
    for k in range(length):
        link = {"k": k, "next": k + 1}
        if k == len(links):
            links.append(_flow(link))
        elif links[k] != link:
            links[k] = _flow(link)


def _flow(values: dict[str, int]) -> object:
    flow = CommentedMap(values)
    flow.fa.set_flow_style()
    return flow
