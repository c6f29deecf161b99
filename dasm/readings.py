"""What networks say of the real set, computed once for all who ask."""

from functools import cached_property
from typing import final

from jaxtyping import Float
from torch import Tensor

from dasm.networks import Classifier, embed, finite, predict
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
