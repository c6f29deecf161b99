"""DVC as child processes: its graph, its verdicts, and stages that never outlive their driver.

Prefect is not imported here, and the only lock of the driver lives here: a served flow is pickled by value with
the globals of its module, and a lock cannot be pickled.
"""

import contextlib
import fcntl
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ruamel.yaml import YAML

DVC = (sys.executable, "-m", "dvc")
GRACE = 5.0  # seconds between SIGTERM and SIGKILL
PROGRESS = 30.0  # seconds between two log lines of one progress bar


class ReproduceError(RuntimeError):
    """The study could not be reproduced; the message says what to do."""


def ask(*arguments: str) -> str:
    """Run a DVC command that only reads; return what it prints."""
    answer = subprocess.run([*DVC, *arguments], capture_output=True, text=True, env=_environment({}), check=False)
    if answer.returncode:
        hint = "is another dvc at work here? " if "busy" in answer.stderr or "lock" in answer.stderr else ""
        raise ReproduceError(f"dvc {' '.join(arguments)}: {hint}{answer.stderr.strip()}")
    return answer.stdout


def survey() -> tuple[dict[str, set[str]], set[str]]:
    """Ask DVC for every stage's parents, and for the stages whose inputs or outputs changed.

    What lies downstream of a changed stage is not among the latter: its inputs did not change yet.
    """
    with ThreadPoolExecutor() as pool:  # `dag` takes no lock, so the two can run together
        graph, status = pool.map(lambda arguments: ask(*arguments), [("dag", "--dot"), ("status", "--json")])
    return parse_dot(graph), set(json.loads(status))


def parse_dot(text: str) -> dict[str, set[str]]:
    """Read `dvc dag --dot`: every stage with the stages it depends on, in the order of dvc.yaml."""
    parents: dict[str, set[str]] = {}
    for names in (re.findall(r'"([^"]+)"', line) for line in text.splitlines()):
        for name in names:
            parents.setdefault(name, set())
        if len(names) == 2:
            parents[names[1]].add(names[0])
    return parents


def select(parents: dict[str, set[str]], targets: Sequence[str] | None) -> dict[str, set[str]]:
    """Keep the targets (stages, or groups such as `distill`) and all they depend on; no targets means everything."""
    pending = [] if targets else list(parents)
    for target in targets or ():
        named = [stage for stage in parents if target in (stage, stage.partition("@")[0])]
        if not named:
            groups = sorted({stage.partition("@")[0] for stage in parents})
            raise ReproduceError(f"targets: no stage or group called {target!r} (groups: {', '.join(groups)})")
        pending += named
    kept: set[str] = set()
    while pending:
        if (stage := pending.pop()) not in kept:
            kept.add(stage)
            pending.extend(parents[stage])
    return {stage: above for stage, above in parents.items() if stage in kept}


def on_gpu(stages: Iterable[str]) -> set[str]:
    """Keep the stages whose `meta.device` is gpu; templated stages are looked up by the part before the @."""
    written = YAML(typ="safe").load(Path("dvc.yaml"))["stages"]
    groups = {name for name, stage in written.items() if stage.get("do", stage).get("meta", {}).get("device") == "gpu"}
    return {stage for stage in stages if stage.partition("@")[0] in groups}


def verdict(stage: str, said: Iterable[str]) -> str:
    """Name what `dvc repro` did with a stage. Wording unknown to us counts as a run: children then look again."""
    text = "\n".join(said)
    if f"'{stage}' didn't change, skipping" in text:
        return "Unchanged"
    return "Restored" if f"Stage '{stage}' is cached" in text else "Completed"


def lines(stream: Iterable[str], clock: Callable[[], float] = time.monotonic) -> Iterator[str]:
    """Split a stream opened with `newline=""` into log lines; of a progress bar, one state every half minute."""
    shown = -PROGRESS
    for piece in stream:
        bar = piece.endswith("\r")
        if (text := piece.rstrip()) and not (bar and clock() - shown < PROGRESS):
            shown = clock() if bar else shown
            yield text


@contextlib.contextmanager
def only_driver() -> Iterator[None]:
    """Hold the workspace: a second driver is refused, and a dead one leaves nothing behind."""
    folder = Path(".dvc")
    if not folder.is_dir():
        raise ReproduceError(f"no DVC project in {Path.cwd()}: start from the folder that holds dvc.yaml")
    path = folder / "tmp" / "reproduce.lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = path.read_text().strip()
            raise ReproduceError(f"another driver runs in {Path.cwd()} (pid {pid}): wait for it, or stop it") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


class Children:
    """The process groups of one driver. Close it on every way out: then all of them are gone, and none can follow."""

    def __init__(self) -> None:
        """Start with none."""
        self.closed = False
        self._lock = threading.Lock()
        self._alive: set[subprocess.Popen[bytes]] = set()

    def close(self) -> None:
        """End all groups, first politely, and start no more."""
        with self._lock:
            self.closed = True
            alive = list(self._alive)
        for child in alive:
            _signal(child, signal.SIGTERM)
        deadline = time.monotonic() + GRACE
        for child in alive:
            _bury(child, deadline)

    def run(self, command: Sequence[str], environment: dict[str, str], hear: Callable[[str], object]) -> int:
        """Run a command in its own process group, hand over its output line by line, return its exit status."""
        with self._lock:
            if self.closed:
                return -signal.SIGTERM
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=_environment(environment),
                start_new_session=True,
            )
            self._alive.add(child)
        assert child.stdout is not None
        # A stage that outlives its dvc holds the pipe open, so the group is buried while we still read.
        undertaker = threading.Thread(target=_follow, args=(child,), daemon=True)
        undertaker.start()
        try:
            with io.TextIOWrapper(child.stdout, encoding="utf-8", errors="replace", newline="") as stream:
                for line in lines(stream):
                    hear(line)
        except BaseException:
            _signal(child, signal.SIGTERM)
            raise
        finally:
            undertaker.join()
            with self._lock:
                self._alive.discard(child)
        return child.returncode


def _environment(extra: dict[str, str]) -> dict[str, str]:
    """Ours, with `python` in a stage's command meaning the Python that runs us, and its output unbuffered."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", "DVC_NO_ANALYTICS": "1", **extra}


def _signal(child: subprocess.Popen[bytes], number: int) -> bool:
    """Signal a child's whole group; tell whether anybody was left in it."""
    try:
        os.killpg(child.pid, number)
    except (ProcessLookupError, PermissionError):  # the latter: macOS, of a group with only zombies left
        return False
    return True


def _follow(child: subprocess.Popen[bytes]) -> None:
    child.wait()
    if _signal(child, signal.SIGTERM):
        _bury(child, time.monotonic() + GRACE)


def _bury(child: subprocess.Popen[bytes], deadline: float) -> None:
    while _signal(child, 0) and time.monotonic() < deadline:
        child.poll()
        time.sleep(0.05)
    _signal(child, signal.SIGKILL)
    child.wait()
