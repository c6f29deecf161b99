"""`python -m benchmarks.profiled [SETTING [DEVICE]]`: where the time of an iteration goes, operation by operation.

Of one matching iteration of a size of `benchmarks.cases`, and of the network's steps that follow it, replayed and
launched one by one.
"""

import sys
import time
from collections.abc import Callable, Iterator

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.cases import SETTINGS, Setting, noise, trainer
from dasm import rng
from dasm.machine.memory import keep_freed_memory
from dasm.machine.precision import repeatable
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.objectives import Surroundings
from dasm.objectives.gradient import Gradient

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
    real = noise(setting, 2 * setting.real_batch, device)
    matching = Gradient(
        metric=setting.metric, real_batch=setting.real_batch, network_images=0, augmentation=setting.augmentation
    )
    start = torch.rand(setting.classes, setting.ipc, *setting.shape, generator=torch.Generator().manual_seed(1))
    pixels = [images.clone().requires_grad_() for images in start.to(device)]
    optimiser = matching.rule.start(pixels, setting.ipc, setting.classes, real.std)
    state = matching.prepare(real, trainer(setting), 0, Surroundings())
    batches = RealBatches(data=real, weights=torch.ones(len(real), device=device), stream=1)
    synthetic = SyntheticBatches(pixels=pixels, factor=setting.factor, mean=real.mean, std=real.std, stream=2)
    numbers = iter(range(1, 1 << 30))

    def iteration() -> None:
        number = next(numbers)
        optimiser.before()
        for distance in matching.distances(state, batches, synthetic, number, rng.derive(3, number)):
            optimiser.accumulate(distance)
        optimiser.step()

    yield "a matching iteration of all classes", iteration
    used = trainer(setting)
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
