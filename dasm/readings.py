"""What networks say of the real set, computed once for all who ask."""

from functools import cached_property
from typing import final

from jaxtyping import Float
from torch import Tensor

from dasm.errors import require
from dasm.networks import Classifier, embed, predict
from dasm.types import LabelledImages


@final
class Reading:
    """One network read over one set, un-augmented, in evaluation mode, without gradients.

    Asking raises `ConfigError` where the network has diverged: by what is no number, no image is harder than another.
    """

    def __init__(self, network: Classifier, data: LabelledImages) -> None:
        """Compute nothing yet."""
        self._network = network
        self._data = data

    @cached_property
    def logits(self) -> Float[Tensor, "n k"]:
        """Logits of every image."""
        return _finite(predict(self._network, self._data), "logits")

    @cached_property
    def features(self) -> Float[Tensor, "n d"]:
        """What the last linear layer reads, for every image."""
        return _finite(embed(self._network, self._data), "features")


def _finite(found: Float[Tensor, "n d"], what: str) -> Float[Tensor, "n d"]:
    wrong = int((~found.isfinite()).any(1).sum())
    rule = f"evaluator: {what} of real images must be finite"
    require(wrong == 0, rule, f"{wrong} of {len(found)} that are not", "a smaller learning_rate of its recipe may help")
    return found
