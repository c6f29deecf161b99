"""`python -m pipeline plan K`: rewrite the blocks of params.yaml that say how many segments there are."""

from pathlib import Path

from ruamel.yaml import YAML

from dasm.errors import ConfigError
from dasm.tables import write_atomically


def main(segments: str, path: str = "params.yaml") -> None:
    """Give the study K segments; new ones copy the last there is, and comments stay.

    `planned_ipc` is not touched: it belongs to the identity of every segment that is already there.
    """
    if not segments.isdecimal() or int(segments) < 1:
        raise ConfigError(f"plan: the number of segments must be >= 1, got {segments!r}")
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    params = yaml.load(Path(path))
    have, want = len(params["chain"]), int(segments)
    # A study that leaves out the score after its last segment goes on leaving it out, down to the last link, on which
    # the comment after the block hangs.
    _resize(params["rescore"], max(1, want - (len(params["rescore"]) < have)))
    _resize(params["chain"], want)
    for k in range(have, want):
        params["segment"][f"s{k}"] = _flow(dict(params["segment"][f"s{k - 1}"]))
    for k in range(want, have):
        del params["segment"][f"s{k}"]
    states = params["benchmark"]["states"]
    states[:] = [n for n in states if n <= want] + list(range(have + 1, want + 1)) or [want]

    def write(temporary: Path) -> None:
        with temporary.open("w") as file:
            yaml.dump(params, file)

    write_atomically(Path(path), write)
    total = sum(segment["ipc"] for segment in params["segment"].values())
    print(f"{segments} segments, {total} images per class; planned_ipc is {params['planned_ipc']}")


def _resize(links: list[object], length: int) -> None:
    links.extend(_flow({"k": k, "next": k + 1}) for k in range(len(links), length))
    del links[length:]


def _flow(values: dict[str, int]) -> object:
    from ruamel.yaml.comments import CommentedMap

    flow = CommentedMap(values)
    flow.fa.set_flow_style()
    return flow
