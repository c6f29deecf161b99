"""How an objective picks its real batches; what is remembered between two iterations can be saved."""

from collections.abc import Mapping
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm import rng
from dasm.networks import Classifier
from dasm.objective_parts.batches import RealBatches


@final
class Sampler:
    """How an objective picks its real batches: as `RealBatches` draws them, or representatives (DREAM, 2302.14416).

    Representatives are chosen anew when a network is, and every `refresh` pixel updates while it learns.
    """

    def __init__(self, kind: Literal["random", "representative"], refresh: int, stream: int) -> None:
        """Choose nothing yet; `refresh` is in pixel updates, >= 1."""
        self._kind = kind
        self._refresh = refresh
        self._stream = stream
        self._chosen: dict[int, Tensor] = {}

    def draw(
        self, real: RealBatches, label: int, batch_size: int, iteration: int, *, network: Classifier, updates: int
    ) -> Float[Tensor, "b c h w"]:
        """Return normalised images of one class.

        Args:
            real: the window.
            label: which class.
            batch_size: images, or the whole window if it holds fewer.
            iteration: number of the pixel update, from 0.
            network: the matching network as it is now.
            updates: pixel updates that this network has seen.
        """
        if self._kind == "random":
            return real.draw(label, batch_size, iteration)
        if updates % self._refresh == 0:
            stream = rng.derive(self._stream, label, iteration)
            self._chosen[label] = real.representatives(label, batch_size, network, stream)
        return real.data.inputs(self._chosen[label])

    def tensors(self) -> dict[str, Tensor]:
        """Return the chosen images by name, for a checkpoint."""
        return {f"sampler.{label}": chosen for label, chosen in self._chosen.items()}

    def restore(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """Put back what `tensors` returned."""
        saved = {name: tensor for name, tensor in tensors.items() if name.startswith("sampler.")}
        self._chosen = {int(name.removeprefix("sampler.")): tensor.to(device) for name, tensor in saved.items()}
