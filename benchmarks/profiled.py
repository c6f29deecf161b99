"""`python -m benchmarks.profiled [SETTING [DEVICE]]`: where the time of an iteration goes, operation by operation.

Of one matching iteration of a size of `benchmarks.iteration`, and of the network's steps that follow it, replayed and
launched one by one.
"""

import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.iteration import SETTINGS, Setting, iteration, trainer
from dasm.machine.memory import keep_freed_memory
from dasm.machine.precision import repeatable

_ROWS = 25
_WARM, _TIMED = 3, 10


def main(name: str = "cifar10-ipc10", device: str = "cuda" if torch.cuda.is_available() else "cpu") -> None:
    repeatable()
    keep_freed_memory()
    # A CPU takes seconds for what a GPU does in milliseconds.
    warm, timed = (_WARM, _TIMED) if device == "cuda" else (1, 1)
    for what, run in works(SETTINGS[name], device):
        for _ in range(warm):
            run()
        seconds = _timed(run, timed, device)
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])]
        with profile(activities=kinds) as found:
            _timed(run, 1, device)
        rows = found.key_averages()
        kernels = [row for row in rows if row.device_type != DeviceType.CPU and not row.is_user_annotation]
        busy = sum(row.self_device_time_total for row in kernels) / 1e3
        print(f"== {name}: {what}: {seconds * 1e3:.2f} ms; {len(kernels)} kinds of kernel take {busy:.2f} ms of a GPU")
        for order in ("self_device_time_total", "self_cpu_time_total")[device == "cpu" :]:
            print(rows.table(sort_by=order, row_limit=_ROWS, max_name_column_width=70), flush=True)


def works(setting: Setting, device: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield pieces of work with their names."""
    matching = iteration(setting, device)
    yield "a matching iteration of all classes", matching.run
    used = trainer(setting)
    real = matching.real
    learner, many = used.start(real, 0), 32 if device == "cuda" else 1

    def learn() -> None:
        for number in range(many):
            learner.step(real, number, 0, 0.01)

    yield (
        f"{many} steps of {used.recipe.batch_size} images, as they are replayed",
        lambda: learner.steps(real, 0, many, 0, 0.01),
    )
    yield "the same, launched one by one", learn


def _timed(run: Callable[[], object], times: int, device: str) -> float:
    begun = time.perf_counter()
    for _ in range(times):
        run()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - begun) / times


if __name__ == "__main__":
    main(*sys.argv[1:])
