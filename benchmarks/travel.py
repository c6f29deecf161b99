"""What a study made on a lent machine travels home in archives of limited size, the most wanted first.

`python3 -m benchmarks.travel pack STUDY FOLDER [MEGABYTES [TRIP]]` there, without DVC;
`python -m benchmarks.travel unpack STUDY FOLDER` here, with DVC, and `take STUDY FOLDER` there again, to go on.
`away.sh`, `lease.sh` and `home.sh` call these.

Results, scores and the ledger are small and come first; then the sets, the walk's unfinished work, and networks, which
cost least to make again. What does not fit is named; a second trip takes it. What never comes is made again when it is
needed, as the real images are, to the same bytes.
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
from pipeline.drivers import walk
from pipeline.graph.templates import stages

PART = 15 << 20  # bytes of one archive file; a machine may limit these too
_MEGABYTES = 60
_MARGIN = 20 << 10  # what closes an archive


def pack(study: str, folder: str, megabytes: str = str(_MEGABYTES), trip: str = "1") -> None:
    """Write `<study>-<trip>.tar.000` and its successors into a folder: as much as may travel at once.

    Trip 2 takes of what the first one leaves behind, and so on, while nothing changes in between.
    """
    for name, value in (("megabytes", megabytes), ("trip", trip)):
        require(value.isdecimal() and int(value) > 0, f"travel: {name} must be a whole number > 0", value)
    link_repeated()
    groups, taken, limit = list(wanted(study)), list[Path](), int(megabytes) << 20
    for _ in range(int(trip)):
        taken, groups = _filled(groups, limit)
    require(Path(folder).is_dir(), "travel: the folder for the archives must exist", folder)
    whole = Path(folder) / f"{study}-{trip}.tar"
    # One header per file, whatever its time: that is what `_size` counts.
    with tarfile.open(whole, "w", format=tarfile.GNU_FORMAT) as archive:
        for file in taken:
            archive.add(file)
    print(f"travel: {len(taken)} files, {whole.stat().st_size / 2**20:.1f} MB")
    _cut(whole)
    for group in groups:
        print(f"travel: {group} stays behind")


def _filled(groups: Iterable[Path], limit: int) -> tuple[list[Path], list[Path]]:
    """Return the files of the groups that fit, the first ones first, and the groups that do not."""
    taken, left, size, seen = list[Path](), list[Path](), _MARGIN, set[tuple[int, int]]()
    for group in groups:
        here = set(seen)
        more = sum(_size(file, here) for file in files(group))
        if size + more > limit:
            left.append(group)
        else:
            taken, size, seen = taken + files(group), size + more, here
    return taken, left


def unpack(study: str, folder: str) -> None:
    """Unpack the archives of a folder, and let DVC take over every stage that is there as a whole."""
    _parts(study, folder)
    found = params.read()
    require(
        found["study"] == study, f"travel: {study} must be in force (python -m pipeline study {study})", found["study"]
    )
    take(study, folder)
    _call("dvc", "repro", "--quiet", "prepare")
    walked = [stage for stage in stages(found) if stage.name != "check"]
    identity, _ = walk.identities(walked, found)
    written = [stage for stage in walked if stage.name != "prepare"]  # done a line above
    whole = [s.name for s in written if walk.is_made(s, identity[s.name]) and all(Path(p).exists() for p in s.deps)]
    if whole:
        _call("dvc", "commit", "--force", "--quiet", *whole)
    print(f"travel: {len(whole)} of {len(written)} stages are there as a whole, made with these options and this code")
    _call("dvc", "status")


def take(study: str, folder: str) -> None:
    """Unpack the archives of a folder."""
    for parts in _parts(study, folder):
        _extract(parts)


def _parts(study: str, folder: str) -> list[list[Path]]:
    first = sorted(Path(folder).glob(f"{study}-[0-9]*.tar.000"))
    require(bool(first), f"{folder}: must hold {study}-1.tar.000 and its successors", "none")
    return [sorted(part.parent.glob(f"{part.stem}.*")) for part in first]


def wanted(study: str) -> Iterator[Path]:
    """Yield what may travel, the most wanted first; whatever there is of it."""
    data = Path("data")
    done = Path(".checkpoints/walk")
    first = [
        Path("reports", study),
        *(data / name for name in ("ledger", "results", "difficulty", "diagnosis", "labeller")),
        done,
    ]
    unfinished = sorted(done.parent.glob("*.safetensors"))
    # An arm is of use only with all its states, which share their files. Real images are picked anew in seconds: last.
    found = params.read()
    sets = [data / "distilled" / arm for group in ("arms", "controls", "coresets") for arm in found[group]]
    rest = [*sets, *unfinished, *_inside(data / "experts"), *_networks(data / "evaluators")]
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


def _extract(parts: Iterable[Path]) -> None:
    whole = Path(".travel.tar.tmp")
    try:
        with whole.open("wb") as joined:
            for part in parts:
                joined.write(part.read_bytes())
        with tarfile.open(whole) as archive:
            members = [_contained(member) for member in archive.getmembers()]
            for member in members:
                # Not into what lies there: it may be a link into DVC's cache.
                if not member.isdir():
                    Path(member.name).unlink(missing_ok=True)
            # Python before 3.11.4 knows no filters.
            archive.extractall(members=members, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    except tarfile.TarError as error:
        raise ConfigError(f"travel: {error} (are all parts of the archive there?)") from error
    finally:
        whole.unlink(missing_ok=True)


def _contained(member: tarfile.TarInfo) -> tarfile.TarInfo:
    paths = [Path(member.name), *([Path(member.linkname)] if member.islnk() else [])]
    kept = member.isfile() or member.isdir() or member.islnk()
    if not kept or any(path.is_absolute() or ".." in path.parts for path in paths):
        raise ConfigError(f"travel: the archive must hold files of this folder alone, got {member.name!r}")
    return member


def _cut(whole: Path) -> None:
    with whole.open("rb") as content:
        number = 0
        while piece := content.read(PART):
            whole.with_suffix(f".tar.{number:03d}").write_bytes(piece)
            number += 1
    whole.unlink()


def _call(*command: str) -> None:
    if subprocess.run(command, check=False).returncode:
        raise ConfigError(f"travel: failed: {' '.join(command[:4])}")


def main(arguments: list[str]) -> int:
    """Pack or unpack; return the exit code."""
    commands = {"pack": pack, "unpack": unpack, "take": take}
    if (
        not arguments
        or arguments[0] not in commands
        or len(arguments) not in {"pack": (3, 4, 5)}.get(arguments[0], (3,))
    ):
        print(
            "usage: python -m benchmarks.travel pack STUDY FOLDER [MEGABYTES [TRIP]] | unpack|take STUDY FOLDER",
            file=sys.stderr,
        )
        return 1
    try:
        commands[arguments[0]](*arguments[1:])
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
