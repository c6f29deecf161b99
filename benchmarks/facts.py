"""`python -m benchmarks.facts [OPTION OF benchmarks]...`: what the machine is, and rates to compare its times with.

Exits with 4 where there is no GPU, unless `--device cpu` is among the options.
"""

import os
import platform
import sys
import time
from collections.abc import Callable
from functools import partial

BEGUN = time.perf_counter()

import torch  # noqa: E402 - its import is the first thing that is timed
import torch.nn.functional as F  # noqa: E402

from dasm.machine.precision import Precision, products, repeatable  # noqa: E402

_NO_GPU = 4
_WAYS: tuple[tuple[Precision, torch.memory_format], ...] = (
    ("fp32", torch.contiguous_format),
    ("tf32", torch.contiguous_format),
    ("tf32", torch.channels_last),
)


def main() -> None:
    print(
        f"python {platform.python_version()}, {os.cpu_count()} cores, import torch {time.perf_counter() - BEGUN:.1f} s"
    )
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
    repeatable()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and "cpu" not in sys.argv[1:]:
        print("no GPU is seen")
        sys.exit(_NO_GPU)
    side, count, batches = (8192, 20, (64, 1024)) if device == "cuda" else (1024, 2, (16,))
    begun = time.perf_counter()
    a = torch.randn(side, side, device=device)
    _wait(device)
    print(f"first tensor on {device} {time.perf_counter() - begun:.1f} s")
    if device == "cuda":
        free, whole = torch.cuda.mem_get_info()
        print(f"{torch.cuda.get_device_name()}, {free >> 20} of {whole >> 20} MiB free")
    _rate("matrix product, fp32", 2 * side**3, count, lambda: a @ a, device)
    # Five networks side by side are five groups: slower than one after another if their rate is less.
    for images, groups in [*((images, 1) for images in batches), (batches[0], 5)]:
        for precision, order in _WAYS:
            with products(precision, device):
                _convolutions(images, groups, precision, order, count, device)


def _convolutions(
    images: int, groups: int, precision: Precision, order: torch.memory_format, count: int, device: str
) -> None:
    x = torch.randn(images, groups * 128, 16, 16, device=device).contiguous(memory_format=order).requires_grad_()
    weight = torch.randn(groups * 128, 128, 3, 3, device=device).contiguous(memory_format=order).requires_grad_()
    last = ", channels last" if order == torch.channels_last else ""
    name = f"3 x 3 convolution of {images} images in {groups} groups, {precision}{last}"
    flop, run = 2 * x.numel() * 128 * 9, partial(F.conv2d, x, weight, padding=1, groups=groups)
    _rate(name, flop, count, run, device)
    seed = torch.ones_like(run())
    both = lambda: torch.autograd.grad(run(), (x, weight), seed)  # noqa: E731
    _rate(f"{name}, and its gradients", 3 * flop, count, both, device)


def _rate(what: str, flop: float, count: int, run: Callable[[], object], device: str) -> None:
    begun = time.perf_counter()
    run()
    _wait(device)
    first = time.perf_counter() - begun
    begun = time.perf_counter()
    for _ in range(count):
        run()
    _wait(device)
    seconds = (time.perf_counter() - begun) / count
    print(f"{what}: first {first:.2f} s, then {seconds * 1e3:.3f} ms, {flop / seconds / 1e12:.2f} TFLOP/s")


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
