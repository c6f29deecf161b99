"""What a piece of work cost: seconds, images through networks, peak memory."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from dasm.networks import Classifier


@final
@dataclass(kw_only=True)
class Cost:
    """Filled while the block of `metered` runs.

    Attributes:
        seconds: wall time.
        forward_images: images that went through a network.
        backward_images: those of them that a gradient was taken through; a double backward counts once.
        peak_memory_mb: largest resident set of the process so far (of the device on a GPU).
        device: where the networks ran.
    """

    seconds: float = 0.0
    forward_images: int = 0
    backward_images: int = 0
    peak_memory_mb: int = 0
    device: str = "cpu"


@contextmanager
def metered() -> Iterator[Cost]:
    """Count what the block costs. Counting does not touch a single number of the work itself."""
    cost = Cost()

    def count(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if isinstance(module, Classifier):
            cost.forward_images += len(inputs[0])
            cost.backward_images += len(inputs[0]) if output.requires_grad else 0
            cost.device = output.device.type

    handle = register_module_forward_hook(count)
    start = time.perf_counter()
    try:
        yield cost
    finally:
        handle.remove()
        cost.seconds = time.perf_counter() - start
        on_device = cost.device == "cuda"
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        cost.peak_memory_mb = torch.cuda.max_memory_allocated() >> 20 if on_device else resident
