"""`python -m pipeline walk [MINUTES] [JOBS]`: the stages of dvc.yaml on a machine that has no DVC.

For a machine that is lent for minutes, with a GPU and little else. Stages run as `dvc repro` would run them, parents
first, and stop when the time is over; the next walk goes on where this one was, a distillation at its last checkpoint.
What has been done is written down in `.checkpoints/walk`: a stage runs again when its command, its options, its code or
any stage before it is another one; `prepare` also when the data set's own files are others, by their names or sizes.
Where DVC is, `dvc commit` then takes the artefacts over (benchmarks/gpu.md).
"""

import hashlib
import json
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from dasm.errors import ConfigError, require
from dasm.storage.files import write_json
from pipeline import layout, params
from pipeline.drivers import procs
from pipeline.graph import blueprint, listing
from pipeline.graph.templates import Stage, stages
from pipeline.work.enough import check_prepared
from pipeline.work.given import check_given

_DONE = Path(".checkpoints/walk")
_LOCK = Path(".checkpoints/walk.lock")


def main(minutes: str = "0", jobs: int = 1) -> None:
    """Run what there is to run in `minutes` (0: all there is), `jobs` stages at once.

    Raises:
        ConfigError: an argument out of range; anything wrong with the study; a stage that failed.
    """
    if not minutes.replace(".", "", 1).isdecimal():
        raise ConfigError(f"walk: minutes must be >= 0, got {minutes!r}")
    require(jobs >= 1, "walk: jobs must be >= 1", jobs)
    with procs.only_driver(_LOCK):
        study = params.read()
        blueprint.write(study)
        check_prepared(study)
        check_given(study)
        written = [stage for stage in stages(study) if stage.name != "check"]
        failed = walk(written, study, seconds=float(minutes) * 60 or float("inf"), jobs=jobs)
    if failed:
        raise ConfigError(f"walk: failed: {', '.join(failed)}")


def walk(written: Sequence[Stage], study: Mapping[str, Any], *, seconds: float, jobs: int) -> list[str]:
    """Run the stages that are not done, parents first; return the names of those that failed.

    Args:
        written: the stages.
        study: the parameters that they depend on.
        seconds: when they are over, what runs is stopped, and no more begins.
        jobs: stages at once.
    """
    identity, parents = identities(written, study)
    pending = {stage.name: stage for stage in written if not is_made(stage, identity[stage.name])}
    print(f"walk: {len(written) - len(pending)} of {len(written)} stages are done", flush=True)
    children, failed, running = procs.Children(), list[str](), dict[Any, Stage]()
    watch = threading.Timer(min(seconds, threading.TIMEOUT_MAX), children.close)
    watch.daemon = True
    watch.start()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            while not children.closed:
                busy = {*failed, *(stage.name for stage in running.values())}
                ready = [s for s in pending.values() if s.name not in busy and not parents[s.name] & pending.keys()]
                for stage in ready[: jobs - len(running)]:
                    running[pool.submit(_run, stage, children)] = stage
                if not running:
                    break
                ended = next(as_completed(running))
                stage = running.pop(ended)
                if ended.result() == 0:
                    _stamp(stage, identity[stage.name])
                    del pending[stage.name]
                elif not children.closed:
                    failed.append(stage.name)
        finally:
            # Before the pool, which waits for what runs: after Ctrl-C too, nothing is to go on.
            watch.cancel()
            children.close()
    print(f"walk: {len(pending)} of {len(written)} stages are left", flush=True)
    return failed


def identities(written: Sequence[Stage], study: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, set[str]]]:
    """Return a hash of all that each stage's outputs depend on, and the names of the stages right before it."""
    parents = {stage.name: {other.name for other in written if stage.follows(other)} for stage in written}
    by_name, found = {stage.name: stage for stage in written}, dict[str, str]()

    def identify(name: str) -> str:
        if name not in found:
            stage = by_name[name]
            parts = [Path(dep).read_text() for dep in stage.deps if layout.BLUEPRINT in Path(dep).parents]
            # The file's own name stands for all of it.
            values = [study if key == "params.yaml" else params.value(study, key) for key in stage.params]
            before = [identify(parent) for parent in sorted(parents[name])]
            # Of the data set's own files no other stage knows anything.
            files = [listing.here_or_recorded(study)] if name == "prepare" else []
            what = [stage.cmd, stage.outs, parts, values, before, *files]
            content = json.dumps(what, sort_keys=True)
            found[name] = hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
        return found[name]

    for stage in written:
        identify(stage.name)
    return found, parents


def _run(stage: Stage, children: procs.Children) -> int:
    begun = time.monotonic()
    (_DONE / stage.name).unlink(missing_ok=True)
    for out in map(Path, stage.outs):  # as DVC does: nothing of an earlier run stays behind
        if out.is_dir():
            shutil.rmtree(out)
        out.unlink(missing_ok=True)
    command = shlex.split(stage.cmd)
    if command[0] == "python":
        command[0] = sys.executable  # where there is no `python` on the path
    status = children.run(command, {"DVC_STAGE": stage.name}, lambda line: print(line, flush=True))
    print(f"walk: {stage.name}: exit {status} after {time.monotonic() - begun:.1f} s", flush=True)
    return status


def is_made(stage: Stage, identity: str) -> bool:
    """Say whether what lies where a stage writes is, to the byte, what a walk with this identity made there."""
    stamp = _DONE / stage.name
    found = json.loads(stamp.read_text()) if stamp.exists() else {}
    there = found.get("identity") == identity and all(Path(out).exists() for out in stage.outs)
    return there and found["outs"] == _contents(stage)


def _stamp(stage: Stage, identity: str) -> None:
    write_json(_DONE / stage.name, {"identity": identity, "outs": _contents(stage)})


def _contents(stage: Stage) -> dict[str, str]:
    """Return a hash of every file of a stage's outputs."""
    outs = [Path(out) for out in stage.outs]
    files = [file for out in outs for file in (sorted(out.rglob("*")) if out.is_dir() else [out]) if file.is_file()]
    return {str(file): _hash(file) for file in files}


def _hash(file: Path) -> str:
    with file.open("rb") as opened:  # in pieces: the real images may be larger than memory
        return hashlib.file_digest(opened, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
