"""What networks say of the real set, computed once for all who ask."""

from contextlib import ExitStack
from functools import cached_property
from itertools import pairwise
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dasm.networks import Classifier, embed, finite, over, predict
from dasm.types import LabelledImages


@final
class Reading:
    """One network read over one set, un-augmented, in evaluation mode, without gradients.

    Asking raises `ConfigError` where the network has diverged: what is no number ranks no images.
    """

    def __init__(self, network: Classifier, data: LabelledImages) -> None:
        """Compute nothing yet."""
        self._network = network
        self._data = data

    @cached_property
    def logits(self) -> Float[Tensor, "n k"]:
        """Logits of every image."""
        return finite(predict(self._network, self._data), "evaluator: logits of real images")

    @cached_property
    def features(self) -> Float[Tensor, "n d"]:
        """What the last linear layer reads, for every image."""
        return finite(embed(self._network, self._data), "evaluator: features of real images")

    @cached_property
    def moments(self) -> list[tuple[Float[Tensor, "n c"], Float[Tensor, "n c"]]]:
        """Mean and variance of every channel, over the pixels of an image, layer by layer.

        Of what leaves each convolution, before any normalisation, as long as that is more than one pixel; eight bytes
        per image and channel. Of networks without convolutions: nothing.
        """
        layers: list[int] = []

        def answer(images: Tensor) -> Tensor:
            seen: list[Tensor] = []

            def note(_layer: nn.Module, _inputs: object, out: Tensor) -> None:
                if out[0, 0].numel() > 1:
                    wide = out.to(torch.promote_types(out.dtype, torch.float32))
                    seen.extend((wide.mean((2, 3)), wide.var((2, 3), correction=0)))

            with ExitStack() as hooks:
                for layer in self._network.modules():
                    if isinstance(layer, nn.Conv2d):
                        hooks.callback(layer.register_forward_hook(note).remove)
                self._network.features(images)
            layers[:] = [part.shape[1] for part in seen]
            return torch.cat(seen, 1) if seen else images.new_zeros(len(images), 0)

        rows = finite(over(self._network, answer, self._data), "evaluator: activations of real images")
        parts = rows.split(layers, 1) if layers else ()
        return list(pairwise(parts))[::2]
