"""What a piece of work cost: seconds, images through networks, operations, peak memory."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import final

import torch

from dasm.machine.counts import Counts, counting


@final
@dataclass(kw_only=True)
class Cost:
    """Filled while the block of `metered` runs.

    Attributes:
        seconds: wall time, with that before an interruption.
        counts: images through networks and operations.
        peak_memory_mb: largest resident set of the process so far (of the device on a GPU).
    """

    seconds: float = 0.0
    counts: Counts = field(default_factory=Counts)
    peak_memory_mb: int = 0


@contextmanager
def metered() -> Iterator[Cost]:
    """Count what the block costs. Counting does not touch a single number of the work itself."""
    cost = Cost()
    start = time.perf_counter()
    try:
        with counting(cost.counts):
            yield cost
    finally:
        on_device = cost.counts.device == "cuda"
        if on_device:
            torch.cuda.synchronize()
        cost.seconds = time.perf_counter() - start + cost.counts.earlier_seconds
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        cost.peak_memory_mb = torch.cuda.max_memory_allocated() >> 20 if on_device else resident
