"""Indices that iterations draw, on the device a block of iterations at a time.

They are drawn on the CPU, so that they are the same whatever the device; copied one by one, they would make a GPU wait
at every draw.
"""

from collections.abc import Callable, Sequence
from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor

#: Iterations of a block, and indices of a block at most (8 bytes each).
_ITERATIONS, _INDICES = 64, 1 << 20


def brought(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a CPU tensor on a device, without waiting for what the device is doing."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@final
class IndexBlocks:
    """What `draw` returns for every label and iteration, brought to a device before it is asked for."""

    def __init__(
        self, draw: Callable[[int, int], Int64[Tensor, " b"]], labels: Sequence[int], device: torch.device
    ) -> None:
        """Draw nothing yet.

        Args:
            draw: indices of a label and an iteration, on the CPU; a function of these alone, and as many at every
                iteration.
            labels: all that will be asked for.
            device: where they are wanted.
        """
        self._draw = draw
        self._labels = labels
        self._device = device
        self._held = range(0)
        self._rows: dict[int, Int64[Tensor, "i b"]] = {}

    def at(self, label: int, iteration: int) -> Int64[Tensor, " b"]:
        """Return the indices of one label and iteration; cheap when iterations are asked for in their order."""
        if iteration not in self._held:
            self._bring(iteration)
        return self._rows[label][iteration - self._held.start]

    def _bring(self, first: int) -> None:
        one = sum(len(self._draw(label, first)) for label in self._labels)
        self._held = range(first, first + max(1, min(_ITERATIONS, _INDICES // max(1, one))))
        tables = [torch.stack([self._draw(label, i) for i in self._held]) for label in self._labels]
        flat = brought(torch.cat([table.flatten() for table in tables]), self._device)
        parts = flat.split([table.numel() for table in tables])
        self._rows = {
            label: part.view_as(table) for label, part, table in zip(self._labels, parts, tables, strict=True)
        }
