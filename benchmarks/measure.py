"""Times, memory and operations of pieces of work, taken in turns so that a busy machine is unfair to all alike.

Ours is measured as the process is set up, which `python -m benchmarks` does as every stage
(`dasm.machine.precision.repeatable`); the reference as torch comes, which is how its users run it.
"""

import gc
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch

from dasm.machine import counts

_MATMUL = 2048


@dataclass(kw_only=True)
class Measured:
    """One way of doing one piece of work.

    Attributes:
        seconds: wall time of every repeat.
        cpu_seconds: processor time of every repeat, which other processes disturb less.
        gflop: of one repeat, in convolutions and matrix products; 0 if it was not counted.
        peak_mb: most memory at any moment: resident on the host, allocated on a GPU.
    """

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    gflop: float = 0.0
    peak_mb: int = 0

    @property
    def rate(self) -> float:
        """GFLOP/s at the median."""
        return self.gflop / median(self.seconds)


@dataclass(kw_only=True)
class Row:
    """One case: ways of doing it, ours first, and the rate of a matrix product measured in the same minutes."""

    case: str
    note: str
    ways: dict[str, Measured]
    matmul: Measured | None = None

    def plain(self) -> dict[str, Any]:
        """Return what goes into the JSON file."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Return one line of the table for each way."""
        first = next(iter(self.ways.values()))
        lines = []
        for name, way in self.ways.items():
            low, middle, high = min(way.seconds), median(way.seconds), max(way.seconds)
            share = f"{way.rate / self.matmul.rate:4.0%}" if self.matmul and way.gflop else "   -"
            rate = f"{way.rate:7.1f}" if way.gflop else "      -"
            ratio = f"{middle / median(first.seconds):5.2f} x" if way is not first else "       "
            used, own = median(way.cpu_seconds or [0.0]), median(first.cpu_seconds or [0.0])
            cpu = f"{used / own:5.2f} x" if way is not first and own else "       "
            lines.append(
                f"{self.case:24} {name:10} {middle:9.4f} ({low:8.4f} - {high:8.4f}) {ratio} {used:9.4f} {cpu} "
                f"{rate} {share} {way.peak_mb:7d}  {self.note if way is first else ''}"
            )
        return lines


HEADER = (
    f"{'case':24} {'way':10} {'median s':>9} ({'min':>8} - {'max':>8}) {'ratio':7} {'cpu s':>9} {'ratio':7} "
    f"{'GFLOP/s':>7} {'mm':>4} {'peak MB':>7}  note"
)


def compare(
    case: str,
    ways: Mapping[str, Callable[[], object]],
    *,
    reference: Callable[[], object] | None = None,
    repeats: int,
    device: str,
    note: str = "",
) -> Row:
    """Run every way once to warm up and to count, then `repeats` times in turns, a matrix product among them.

    The ways are ours, and do what the product does; the reference runs as torch comes.
    """
    a = torch.randn(_MATMUL, _MATMUL, device=device)

    def plainly() -> None:
        with as_torch_comes():
            reference()

    theirs = {"reference": plainly} if reference else {}
    work: dict[str, Callable[[], object]] = {**ways, **theirs, "matmul": lambda: a @ a}
    measured = {
        name: Measured(gflop=_gflop(run) if name in ways else _gflop_of_torch(run)) for name, run in work.items()
    }
    for _ in range(repeats):
        for name, run in work.items():
            _once(run, measured[name], device)
    matmul = measured.pop("matmul")
    return Row(case=case, note=note, ways=measured, matmul=matmul)


@contextmanager
def as_torch_comes() -> Iterator[None]:
    """Take back what `repeatable` switches, for the block; only cuBLAS keeps the workspace it has begun with."""
    mode, rounds = torch.get_deterministic_debug_mode(), torch.backends.cudnn.allow_tf32
    torch.set_deterministic_debug_mode("default")
    torch.backends.cudnn.allow_tf32 = True
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        torch.backends.cudnn.allow_tf32 = rounds


def _once(run: Callable[[], object], into: Measured, device: str) -> None:
    gc.collect()
    _forget_peak(device)
    if device == "cuda":
        torch.cuda.synchronize()
    start, cpu = time.perf_counter(), time.process_time()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    into.seconds.append(time.perf_counter() - start)
    into.cpu_seconds.append(time.process_time() - cpu)
    into.peak_mb = max(into.peak_mb, peak_mb(device))


# Two counters, because neither can count both. torch's sees calls of operations, and the replay of a CUDA graph makes
# none; ours takes a double backward, which the reference makes, for a single one. Where both can, on a CPU, torch's
# finds one or two per cent more in ours: products of filters and covariances, which `dasm.chains.stem` does not count.
def _gflop(run: Callable[[], object]) -> float:
    found = counts.Counts()
    with counts.counting(found):
        run()
    return found.flops / 1e9


def _gflop_of_torch(run: Callable[[], object]) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a counter hears its own thread alone
    with FlopCounterMode(display=False) as counter:
        run()
    torch.set_num_threads(threads)
    return counter.get_total_flops() / 1e9


def _forget_peak(device: str) -> None:
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    with suppress(OSError):  # where it may not be written, the peak is that of the process so far
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() >> 20
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) >> 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def machine(device: str) -> dict[str, Any]:
    """Return what the numbers depend on besides the code."""
    ours = _switches()
    with as_torch_comes():
        reference = _switches()
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "ours_runs_with": ours,
        "reference_runs_with": reference,
        "load": os.getloadavg(),
    }


def _switches() -> dict[str, Any]:
    return {
        "deterministic": ("default", "warn", "error")[torch.get_deterministic_debug_mode()],
        "fill_uninitialized_memory": torch.utils.deterministic.fill_uninitialized_memory,
        "tf32": {"products": torch.backends.cuda.matmul.allow_tf32, "convolutions": torch.backends.cudnn.allow_tf32},
        "cublas_workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
    return names[0] if names else platform.processor()
