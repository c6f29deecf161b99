"""How exactly networks compute while they learn and score; distances between gradients are never rounded."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

#: `fp32` rounds nothing; `tf32` lets a GPU round the factors of its products to 10 bits (elsewhere it is `fp32`);
#: `bf16` computes layers in 16 bits where torch's autocast holds that safe, with weights and updates in 32.
Precision = Literal["fp32", "tf32", "bf16"]


def repeatable() -> None:
    """Make torch repeat itself, on any device, and round nothing that it is not told to: for the whole process.

    Every stage of the pipeline begins with it; whoever owns a process and wants its bits to repeat can do the same.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only with this
    # The same switch as `use_deterministic_algorithms(True)`, which also imports the compiler: seconds per stage.
    torch.set_deterministic_debug_mode("error")
    # With it comes a fill of all fresh memory, which finds reads of what was never written: for tests, not for work.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # torch lets a GPU's convolutions round by default, and the environment its matrix products; `products` says where.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


@contextmanager
def products(precision: Precision, device: str) -> Iterator[None]:
    """Say for the block how a GPU multiplies 32-bit numbers, forward and backward. torch's own default rounds."""
    if device != "cuda":
        yield
        return
    flags: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [flag.allow_tf32 for flag in flags]
    try:
        for flag in flags:
            flag.allow_tf32 = precision == "tf32"
        yield
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value


def answers(network: Callable[[Tensor], Tensor], images: Tensor, precision: Precision) -> Tensor:
    """Return what a network says of images, in their own type; `products` is the caller's part.

    On a GPU, channels are laid out last for `tf32` and `bf16`, as its tensor cores read them (not measured).
    """
    if images.is_cuda and images.dim() == 4 and precision != "fp32":
        images = images.contiguous(memory_format=torch.channels_last)
    with _autocast(precision, images.device.type):
        return network(images).to(images.dtype)


def _autocast(precision: Precision, device: str) -> AbstractContextManager[object]:
    if precision != "bf16":
        return nullcontext()
    # The cache would outlive a captured graph; every weight is read once per pass anyway.
    return torch.autocast(device, dtype=torch.bfloat16, cache_enabled=False)
