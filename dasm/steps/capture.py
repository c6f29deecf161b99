"""Network steps recorded once per run, not once per network (`dasm.steps.stepper`)."""

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from typing import final

import torch
from torch import Tensor

from dasm.machine.precision import answers
from dasm.networks import Classifier
from dasm.recipe import Recipe
from dasm.steps.stepper import Stepper
from dasm.types import LabelledImages


@final
class Captured:
    """A stepper for one network, lent to one learner after another: a network drawn anew is copied into it.

    So there is one recording however often networks are drawn, and a learner's own tensors are never replayed into.
    """

    def __init__(self) -> None:
        """Record nothing yet."""
        self._stepper: Stepper | None = None
        self._network: Classifier | None = None

    def run(
        self,
        network: Classifier,
        momenta: Sequence[Tensor | None],
        recipe: Recipe,
        data: LabelledImages,
        steps: range,
        stream: int,
        rate: float,
    ) -> list[Tensor]:
        """Take steps with a network, which is changed in place, and return its momenta, which are too.

        Args:
            network: always of one architecture.
            momenta: of its parameters, None being zero.
            recipe: always the same.
            data: what it learns from; another set is recorded anew.
            steps: their numbers.
            stream: of the draws.
            rate: of learning.
        """
        mine, stepper = self._lent(network, recipe)
        theirs = [*network.parameters(), *network.buffers()]
        pairs = zip(stepper.momenta, momenta, strict=True)
        moved = [torch.zeros_like(own) if given is None else given for own, given in pairs]
        with torch.no_grad():
            torch._foreach_copy_([*mine, *stepper.momenta], [*theirs, *moved])
        stepper.run(data, steps.start, len(steps), [stream], rate)
        with torch.no_grad():
            torch._foreach_copy_([*theirs, *moved], [*mine, *stepper.momenta])
        return moved

    def _lent(self, network: Classifier, recipe: Recipe) -> tuple[list[Tensor], Stepper]:
        shapes = [tensor.shape for tensor in network.state_dict().values()]
        if self._network is None or [tensor.shape for tensor in self._network.state_dict().values()] != shapes:
            own = self._network = deepcopy(network).train()
            self._stepper = Stepper(
                lambda images: answers(partial(own, once=True), images[0], recipe.precision)[None],
                list(own.parameters()),
                list(own.buffers()),
                recipe,
            )
        assert self._stepper is not None, "made together with the network"
        return [*self._network.parameters(), *self._network.buffers()], self._stepper
