"""How far a segment has come: what a checkpoint holds, and what the segment ends with."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm.history import History
from dasm.machine import ranks
from dasm.machine.counts import Counts, count
from dasm.objectives import State
from dasm.pixels import PixelOptimiser
from dasm.storage.checkpoint import Checkpoint


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Unfinished:
    """An unfinished segment: everything that the next iteration depends on, and what it has cost to get there.

    Attributes:
        pixels: leaf tensors, one per class (m c h w).
        optimiser: of the pixels.
        state: of the objective.
        history: distances so far.
        counts: counter of the iterations so far, to be kept open while they are done.
    """

    pixels: Sequence[Tensor]
    optimiser: PixelOptimiser
    state: State
    history: History
    counts: Counts = field(default_factory=Counts)
    _begun: float = field(default_factory=time.perf_counter)

    def restore(self, checkpoint: Checkpoint | None) -> int:
        """Put back what was saved and return how many iterations that were; 0 if nothing was.

        What they cost is counted again: by counters that begin with this run, for the first time.

        Raises:
            ConfigError: of several processes, some go on from elsewhere than others.
        """
        saved = checkpoint.load() if checkpoint is not None else None
        done = 0
        if saved is not None:
            with torch.no_grad():
                for c, images in enumerate(self.pixels):
                    images.copy_(saved[f"pixels.{c}"])
            self.optimiser.restore(_part(saved, "optimiser."))
            self.state.restore(_part(saved, "state."))
            self.history.values.copy_(saved["history"])
            done = int(saved["iteration"])
            count(**json.loads(bytes(saved["cost"].tolist())))
        ranks.agree(done, "iteration to go on from", self.history.values.device)
        return done

    def offer(self, checkpoint: Checkpoint | None, done: int) -> None:
        """Let a checkpoint save the state after `done` iterations; of several processes the first one does.

        Raises:
            FloatingPointError: it is about to save, and a distance is not finite.
        """
        if checkpoint is not None and ranks.number() == 0:
            checkpoint.offer(lambda: self._packed(done))

    def result(self, done: int) -> tuple[Float[Tensor, "k m c h w"], Float[Tensor, " i"]]:
        """Return the pixels, clamped to [0, 1], and the distances of the iterations that were done, on the CPU.

        Raises:
            FloatingPointError: one of these is not finite.
        """
        self.history.look(done)
        # The last update may have spoilt what the distances before it could not show.
        if not all(images.isfinite().all() for images in self.pixels):
            raise FloatingPointError(f"iteration {done - 1}: the pixels are not finite after it")
        self.optimiser.clamp()
        return torch.stack([images.detach() for images in self.pixels]).cpu(), self.history.values[:done].cpu()

    def _packed(self, done: int) -> dict[str, Tensor]:
        self.history.look(done)
        packed = {"iteration": torch.tensor(done), "history": self.history.values}
        cost = {name: getattr(self.counts, name) for name in ("forward_images", "backward_images", "flops")}
        cost["earlier_seconds"] = time.perf_counter() - self._begun + self.counts.earlier_seconds
        # As text: operations may be more than 64 bits hold.
        packed["cost"] = torch.tensor(list(json.dumps(cost).encode()), dtype=torch.uint8)
        packed |= {f"pixels.{c}": images for c, images in enumerate(self.pixels)}
        packed |= {f"optimiser.{name}": tensor for name, tensor in self.optimiser.tensors().items()}
        return packed | {f"state.{name}": tensor for name, tensor in self.state.tensors().items()}


def _part(saved: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in saved.items() if name.startswith(prefix)}
