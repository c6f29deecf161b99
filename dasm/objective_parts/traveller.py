"""What trajectory matching (MTT, arXiv 2203.11932) carries from one iteration to the next besides the pixels."""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from dasm.errors import require
from dasm.networks import Classifier
from dasm.objective_parts.batches import SyntheticBatches
from dasm.objective_parts.labels import Learnt, LearntLabels, class_by_class


@final
class Traveller:
    """The step size, and labels if these are learnt, beside the experts and a network that lends its shape."""

    def __init__(
        self, network: Classifier, experts: Sequence[Float[Tensor, "e p"]], rate: float, labels: LearntLabels | None
    ) -> None:
        """Start with a step size.

        Args:
            network: of students and experts.
            experts: one row of weights per epoch.
            rate: the step size, > 0.
            labels: of the new segment; None for hard ones.
        """
        self.network = network.train()
        self.experts = experts
        self.labels = labels
        # Double, because its updates are far smaller than itself.
        self._rate = Learnt(torch.tensor(rate, dtype=torch.float64, device=next(network.parameters()).device))
        self._lowest = self.rate

    @property
    def rate(self) -> Float[Tensor, ""]:
        """The step size as it is now."""
        return self._rate.value

    def shown(
        self, synthetic: SyntheticBatches, iteration: int
    ) -> tuple[Float[Tensor, "n c h w"], Int64[Tensor, " n"] | Float[Tensor, "n k"]]:
        """Return all images that students learn, normalised, with their classes or soft labels."""
        if self.labels is None:
            return class_by_class(synthetic, iteration)
        return self.labels.shown(synthetic, iteration)

    def learn(
        self, slope: Float[Tensor, ""], learning_rate: float, momentum: float, skipped: Bool[Tensor, ""] | None
    ) -> None:
        """Take one step of the step size's SGD, unless it is skipped."""
        self._rate.step(slope, learning_rate, momentum, skipped)
        self._lowest = torch.minimum(self._lowest, self.rate)

    def check(self) -> None:
        """Refuse to go on once the step size has been zero or less: the pixels have learnt from students that climb."""
        lowest = float(self._lowest)
        rule = "objective: step_size of mtt must stay > 0 as it is learned"
        require(lowest > 0, rule, lowest, "a smaller step_size_rate, or 0 to keep it")

    def tensors(self) -> dict[str, Tensor]:
        """Return what the next iteration depends on, for a checkpoint."""
        self.check()
        labels = {} if self.labels is None else self.labels.tensors()
        return {"rate": self._rate.value, "velocity": self._rate.velocity} | labels

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` returned."""
        self._rate = Learnt(tensors["rate"].to(self.rate), tensors["velocity"])
        self._lowest = self.rate
        if self.labels is not None:
            self.labels.restore(tensors)
