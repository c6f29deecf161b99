"""The distance of every iteration: kept on the device, looked at as seldom as the device wants."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

#: Iterations between two looks. A look makes a GPU wait, and costs a CPU nothing.
_LOOK_EVERY = {"cpu": 1}
_LOOK_SELDOM = 100


@final
class History:
    """Distances, summed over the classes.

    Attributes:
        values: one per iteration, on the device of the pixels; 0 where there was none yet.
    """

    def __init__(self, iterations: int, device: torch.device) -> None:
        """Begin with none."""
        self.values = torch.zeros(iterations, device=device)
        self._every = _LOOK_EVERY.get(device.type, _LOOK_SELDOM)
        self._seen = 0

    def add(self, iteration: int, distance: Float[Tensor, ""]) -> None:
        """Add the distance of some classes to that of the iteration."""
        self.values[iteration].add_(distance.detach())

    def watch(self, done: int) -> None:
        """Look at the distances of `done` iterations if the last look was long enough ago."""
        if done - self._seen >= self._every:
            self.look(done)

    def look(self, done: int) -> None:
        """Look at the distances of `done` iterations.

        Raises:
            FloatingPointError: one of them is not finite; names the first such iteration.
        """
        fresh = self.values[self._seen : done].cpu()
        wrong = torch.nonzero(~fresh.isfinite()).flatten().tolist()
        if wrong:
            raise FloatingPointError(f"iteration {self._seen + wrong[0]}: the distance is {float(fresh[wrong[0]])}")
        self._seen = done

    def settled(self, done: int, window: int, tolerance: float) -> bool:
        """Return whether the last of `done` iterations are no better than those before.

        Args:
            done: iterations so far; asked for at multiples of `window` alone, anything else has not settled.
            window: iterations that are compared with as many before them, >= 1.
            tolerance: share in [0, 1) by which the mean distance has to fall.
        """
        if done < 2 * window or done % window:
            return False
        earlier, later = self.values[done - 2 * window : done].cpu().double().unflatten(0, (2, window)).mean(1).tolist()
        return not later < earlier * (1 - tolerance)
