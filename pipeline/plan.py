"""`python -m pipeline plan K`: rewrite the blocks of params.yaml that say how many segments there are."""

from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from dasm.errors import require
from dasm.storage.files import write_atomically
from pipeline import params

# DVC takes minutes to lay out the stages of more.
_MOST = 1000


def main(segments: int, path: str = "params.yaml") -> None:
    """Give the study K segments; new ones copy the last there is, and comments stay.

    `planned_ipc` is not touched: it belongs to the identity of every segment that is already there.
    """
    require(1 <= segments <= _MOST, f"plan: the number of segments must be in [1, {_MOST}]", segments)
    found = params.read(Path(path))  # says what is wrong in one line
    for block in ("chain", "rescore", "segment", "benchmark.states", "planned_ipc"):
        params.value(found, block)
    yaml = _as_it_is_written()
    study = yaml.load(Path(path))
    have, want = len(study["chain"]), segments
    # A study that leaves out the score after its last segment goes on leaving it out, down to the last link, on which
    # the comment after the block hangs; that of one segment has always come down to it.
    without = len(study["rescore"]) < have or have == 1
    _resize(study["rescore"], max(1, want - without))
    _resize(study["chain"], want)
    for k in range(have, want):
        study["segment"][f"s{k}"] = _flow(dict(study["segment"][f"s{k - 1}"]))
    for k in range(want, have):
        del study["segment"][f"s{k}"]
    states = study["benchmark"]["states"]
    states[:] = [n for n in states if n <= want] + list(range(have + 1, want + 1)) or [want]

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as file:
            yaml.dump(study, file)

    write_atomically(Path(path), write)
    total = sum(segment["ipc"] for segment in study["segment"].values())
    print(f"{segments} segments, {total} images per class; planned_ipc is {study['planned_ipc']}")


def _as_it_is_written() -> YAML:
    """Return what leaves all that it does not change as it stands, but for lists over several lines."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # folds no text
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(type(None), lambda to, _: to.represent_scalar("tag:yaml.org,2002:null", "null"))
    return yaml


def _resize(links: list[object], length: int) -> None:
    links.extend(_flow({"k": k, "next": k + 1}) for k in range(len(links), length))
    del links[length:]


def _flow(values: dict[str, int]) -> object:
    flow = CommentedMap(values)
    flow.fa.set_flow_style()
    return flow
