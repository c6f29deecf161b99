"""Several processes that distil one segment: whose classes are whose, and sums over all of them.

Every process holds all pixels and takes the same network steps; it computes the distances and pixel gradients of its
own classes, and these are added up before the pixels move. That is one process's work up to the order of sums. Without
a process group of `torch.distributed` there is one process, which has every class and nothing to add.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from dasm.errors import ConfigError


def count() -> int:
    """Return how many processes work on the segment."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def number() -> int:
    """Return which of them this one is, from 0; the first is the one that writes."""
    return dist.get_rank() if count() > 1 else 0


def mine(classes: int) -> range:
    """Return the classes of this process: neighbours, and as many as the others have, give or take one."""
    return range(number() * classes // count(), (number() + 1) * classes // count())


@torch.no_grad()
def add_up(tensors: Sequence[Tensor]) -> None:
    """Put into every tensor the sum of what the processes hold in it, the same bits everywhere.

    Args:
        tensors: of floating point, on one device, the same shapes in every process.
    """
    if count() == 1:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def agree(value: int, what: str, device: torch.device) -> None:
    """Refuse to go on if the processes do not have the same value of `what`, before they wait for each other forever.

    Raises:
        ConfigError: they differ.
    """
    if count() == 1:
        return
    highest = torch.tensor([value, -value], device=device)
    dist.all_reduce(highest, op=dist.ReduceOp.MAX)
    first, last = -int(highest[1]), int(highest[0])
    if first != last:
        raise ConfigError(f"processes: must have the same {what}, got {first} and {last} (is .checkpoints shared?)")
