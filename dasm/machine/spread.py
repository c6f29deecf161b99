"""Independent pieces of work on as many threads as torch may use, one core each.

A convolution that is split over two cores waits for itself after every layer. Two convolutions on a core each do not,
and their sums do not depend on how many cores there are.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
Result = TypeVar("Result")


def spread(work: Callable[[Item], Result], items: Iterable[Item], device: torch.device) -> list[Result]:
    """Return what `work` makes of every item, in order; on a CPU with as many threads as torch may use, one for each.

    A single piece has one core too: tensors that are not worth cutting up are not worth a second core, which would be
    woken for every operation (three times slower for 64 images of 8 x 8, benchmarks/README.md).

    Args:
        work: without gradients; its pieces may not write what another reads.
        items: of about equal cost.
        device: where the tensors lie; a GPU takes one piece after another.

    Raises:
        Exception: whatever the first failing piece raises.
    """
    pieces, threads = list(items), torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        return [work(piece) for piece in pieces]
    inference = torch.is_inference_mode_enabled()

    def alone(piece: Item) -> Result:
        # Both modes belong to a thread.
        with torch.inference_mode(inference), torch.no_grad():
            return work(piece)

    return list(_pool(threads, os.getpid()).map(alone, pieces))


@lru_cache(maxsize=1)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:  # noqa: ARG001 - threads do not survive a fork
    # In OpenMP the number of threads belongs to the thread that sets it, so that the caller's stays what it is.
    return ThreadPoolExecutor(threads, thread_name_prefix="spread", initializer=torch.set_num_threads, initargs=(1,))


def evenly(batch: Tensor, at_most: int, dim: int = 0) -> tuple[Tensor, ...]:
    """Cut a batch into pieces of nearly equal length, none longer than `at_most`.

    It stays whole if it has at most a quarter of `at_most` items; else the pieces are even in number.

    The answer depends on lengths alone, so that sums over the pieces do not depend on the number of threads; an even
    number keeps two cores, the usual fewest, busy to the end.
    """
    length = batch.shape[dim]
    pieces = max(1, -(-length // max(1, at_most)))
    if 4 * length > at_most:
        pieces = min(max(1, length), pieces + pieces % 2)
    return batch.tensor_split(pieces, dim)


def total(parts: Sequence[Tensor]) -> Tensor:
    """Return the sum of tensors of one shape, taken in their order; the first is overwritten."""
    whole, *others = parts
    for part in others:
        whole = whole.add_(part)
    return whole
