"""What a study made on a lent machine travels home in archives of limited size, the most wanted first.

`python3 -m benchmarks.travel pack STUDY FOLDER [MEGABYTES]` there, without DVC;
`python -m benchmarks.travel unpack STUDY FOLDER` here, with DVC. `away.sh` and `home.sh` call these.

Results, scores and the ledger are small and come first; then the sets, the walk's unfinished work, and networks, which
cost least to make again. What does not fit is named, and is made again when it is needed. Real images never travel:
they are prepared anew, to the same bytes.
"""

import filecmp
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from dasm.errors import ConfigError, require
from pipeline import params
from pipeline.templates import Stage, stages

PART = 15 << 20  # bytes of one archive file; a machine may limit these too
_MEGABYTES = 60


def pack(study: str, folder: str, megabytes: str = str(_MEGABYTES)) -> None:
    """Write `<study>.tar.000` and its successors into a folder, as much as may travel."""
    require(megabytes.isdecimal() and int(megabytes) > 0, "travel: megabytes must be a whole number > 0", megabytes)
    out, left = Path(folder), int(megabytes) << 20
    link_repeated()
    taken: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for group in wanted(study):
        here = set(seen)
        size = sum(_size(file, here) for file in files(group))
        if size > left:
            print(f"travel: {group} stays behind: {size / 2**20:.1f} MB, {left / 2**20:.1f} MB are left")
            continue
        left -= size
        taken, seen = taken + files(group), here
    whole = out / f"{study}.tar"
    with tarfile.open(whole, "w") as archive:
        for file in taken:
            archive.add(file)
    _cut(whole)
    print(f"travel: {len(taken)} files, {((int(megabytes) << 20) - left) / 2**20:.1f} MB")


def unpack(study: str, folder: str) -> None:
    """Unpack the archives of a folder, and let DVC take over every stage that is there as a whole."""
    parts = sorted(Path(folder).glob(f"{study}.tar.*"))
    require(bool(parts), f"{folder}: must hold {study}.tar.000 and its successors", "none")
    found = params.read()
    require(
        found["study"] == study, f"travel: {study} must be in force (python -m pipeline study {study})", found["study"]
    )
    whole = Path(f".{study}.tar.tmp")
    try:
        with whole.open("wb") as joined:
            for part in parts:
                joined.write(part.read_bytes())
        with tarfile.open(whole) as archive:
            archive.extractall(filter="data")
    finally:
        whole.unlink(missing_ok=True)
    _call(sys.executable, "-m", "pipeline", "check")
    _call("dvc", "repro", "--quiet", "prepare")
    names = [stage.name for stage in stages(found) if _is_whole(stage)]
    _call("dvc", "commit", "--force", "--quiet", *names)
    print(f"travel: {len(names)} stages are there as a whole")
    _call("dvc", "status")


def wanted(study: str) -> Iterator[Path]:
    """Yield what may travel, the most wanted first; whatever there is of it."""
    data = Path("data")
    done = Path(".checkpoints/walk")
    first = [Path("reports", study), *(data / name for name in ("ledger", "results", "difficulty")), done]
    unfinished = sorted(done.parent.glob("*.safetensors"))
    # An arm is of use only with all its states, which share their files.
    rest = [*_inside(data / "distilled"), *unfinished, *_inside(data / "experts"), *_networks(data / "evaluators")]
    yield from (path for path in (*first, *rest) if path.exists())


def files(path: Path) -> list[Path]:
    """Return the files of a folder, or the file itself."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def link_repeated(root: Path = Path("data/distilled")) -> None:
    """Link the segments that a state shares with the one before it: archives then hold them once."""
    for arm in _inside(root):
        for before, after in pairwise(sorted(_inside(arm), key=lambda state: (len(state.name), state.name))):
            for file in before.glob("*.parquet"):
                again = after / file.name
                if again.exists() and not again.samefile(file) and filecmp.cmp(file, again, shallow=False):
                    again.unlink()
                    os.link(file, again)


def _networks(root: Path) -> Iterable[Path]:
    # Those that every arm starts from, then each arm's, state by state.
    return (root / "real", *(state for arm in _inside(root) if arm.name != "real" for state in _inside(arm)))


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _inode(file: Path) -> tuple[int, int]:
    return file.stat().st_dev, file.stat().st_ino


def _size(file: Path, seen: set[tuple[int, int]]) -> int:
    # A header of 512 bytes, and content in blocks of as many.
    if _inode(file) in seen:
        return 512
    seen.add(_inode(file))
    return 512 + -(-file.stat().st_size // 512) * 512


def _cut(whole: Path) -> None:
    with whole.open("rb") as content:
        number = 0
        while piece := content.read(PART):
            whole.with_suffix(f".tar.{number:03d}").write_bytes(piece)
            number += 1
    whole.unlink()


def _is_whole(stage: Stage) -> bool:
    return all(Path(path).exists() for path in (*stage.outs, *stage.deps))


def _call(*command: str) -> None:
    if subprocess.run(command, check=False).returncode:
        raise ConfigError(f"travel: failed: {' '.join(command[:4])}")


def main(arguments: list[str]) -> int:
    """Pack or unpack; return the exit code."""
    commands = {"pack": pack, "unpack": unpack}
    if len(arguments) not in (3, 4) or arguments[0] not in commands:
        print("usage: python -m benchmarks.travel pack STUDY FOLDER [MEGABYTES] | unpack STUDY FOLDER", file=sys.stderr)
        return 1
    try:
        commands[arguments[0]](*arguments[1:])
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
