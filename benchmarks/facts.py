"""`python -m benchmarks.facts`: what the machine is, and the rates that its times are to be compared with."""

import os
import platform
import time
from collections.abc import Callable

BEGUN = time.perf_counter()

import torch  # noqa: E402 - its import is the first thing that is timed
import torch.nn.functional as F  # noqa: E402

from dasm.precision import repeatable  # noqa: E402


def main() -> None:
    print(
        f"python {platform.python_version()}, {os.cpu_count()} cores, import torch {time.perf_counter() - BEGUN:.1f} s"
    )
    print(f"torch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}")
    repeatable()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    side, count, batches = (8192, 20, (64, 1024)) if device == "cuda" else (1024, 2, (16,))
    begun = time.perf_counter()
    a = torch.randn(side, side, device=device)
    _wait(device)
    print(f"first tensor on {device} {time.perf_counter() - begun:.1f} s")
    if device == "cuda":
        free, whole = torch.cuda.mem_get_info()
        print(f"{torch.cuda.get_device_name()}, {free >> 20} of {whole >> 20} MiB free")
    _rate("matrix product, fp32", 2 * side**3, count, lambda: a @ a, device)
    weight = torch.randn(128, 128, 3, 3, device=device)
    for images in batches:
        x = torch.randn(images, 128, 16, 16, device=device)
        flop = 2 * x.numel() * 128 * 9
        _rate(
            f"3 x 3 convolution of {images} images, fp32",
            flop,
            count,
            lambda x=x: F.conv2d(x, weight, padding=1),
            device,
        )


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
