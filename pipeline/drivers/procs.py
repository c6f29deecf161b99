"""DVC as child processes: one driver per workspace, and stages that never outlive it.

Prefect is not imported here, and the only lock of the driver lives here: a served flow is pickled by value with
the globals of its module, and a lock cannot be pickled.
"""

import contextlib
import fcntl
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from pipeline.graph.dag import ReproduceError
from pipeline.graph.dag import environment as child_environment

GRACE = 5.0  # seconds between SIGTERM and SIGKILL
PROGRESS = 30.0  # seconds between two log lines of one progress bar

# A driver that is killed by SIGKILL can end nobody: its children ask the system to (PR_SET_PDEATHSIG; `exec` keeps it).
_TETHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""


def lines(stream: Iterable[str], clock: Callable[[], float] = time.monotonic) -> Iterator[str]:
    """Split a stream opened with `newline=""` into log lines; of a progress bar, one state every half minute."""
    shown = -PROGRESS
    for piece in stream:
        bar = piece.endswith("\r")
        if (text := piece.rstrip()) and not (bar and clock() - shown < PROGRESS):
            shown = clock() if bar else shown
            yield text


def project() -> Path:
    """Return DVC's own folder; refuse a folder that holds no project."""
    folder = Path(".dvc")
    if not folder.is_dir():
        raise ReproduceError(f"no DVC project in {Path.cwd()}: start from the folder that holds dvc.yaml")
    return folder


@contextlib.contextmanager
def only_driver(path: Path | None = None) -> Iterator[None]:
    """Hold the workspace: a second driver is refused, and a dead one leaves nothing behind.

    Args:
        path: of the lock; default: that of whoever drives DVC here.
    """
    path = path or project() / "tmp" / "reproduce.lock"
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


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """Let processes that are started inside never hear of Ctrl-C, or of a terminal that closes.

    A terminal tells everybody in the foreground. Prefect's temporary server would stop at once, and the flow, which
    wants to tell it how it ended, would ask for it again and again for minutes. This process hears it afterwards.
    """
    kept = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, kept)


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
                _tethered(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=child_environment(environment),
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


def _tethered(command: Sequence[str]) -> Sequence[str]:
    # Python that imports nothing more than this: 20 ms, against the seconds of those that follow.
    tether = [sys.executable, "-I", "-S", "-c", _TETHER, str(os.getpid())] if sys.platform == "linux" else []
    return [*tether, *command]


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
