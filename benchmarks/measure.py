"""Times, memory and operations of pieces of work, taken in turns so that a busy machine is unfair to all alike."""

import gc
import os
import platform
import resource
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch

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
    limit: str = ""

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


def compare(case: str, ways: Mapping[str, Callable[[], object]], *, repeats: int, device: str, note: str = "") -> Row:
    """Run every way once to warm up and to count, then `repeats` times in turns, a matrix product among them."""
    a = torch.randn(_MATMUL, _MATMUL, device=device)
    work: dict[str, Callable[[], object]] = {**ways, "matmul": lambda: a @ a}
    measured = {name: Measured() for name in work}
    for name, run in work.items():
        measured[name].gflop = _gflop(run)
    for _ in range(repeats):
        for name, run in work.items():
            _once(run, measured[name], device)
    matmul = measured.pop("matmul")
    return Row(case=case, note=note, ways=measured, matmul=matmul)


def _once(run: Callable[[], object], into: Measured, device: str) -> None:
    gc.collect()
    _forget_peak(device)
    start, cpu = time.perf_counter(), time.process_time()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    into.seconds.append(time.perf_counter() - start)
    into.cpu_seconds.append(time.process_time() - cpu)
    into.peak_mb = max(into.peak_mb, peak_mb(device))


def _gflop(run: Callable[[], object]) -> float:
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
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "tf32": [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32] if device == "cuda" else None,
        "load": os.getloadavg(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
    return names[0] if names else platform.processor()
