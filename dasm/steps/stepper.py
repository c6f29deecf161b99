"""Steps of one or several networks out of buffers that stay where they are, so that a GPU can replay them as a graph.

A step of a small network is some hundred kernels; launched one by one, they cost more than they compute. Everything
that differs from step to step lies in tensors: the draws of a block of steps (`dasm.steps.draws`), the number of the
step in it, the learning rate. A CUDA graph of one step is recorded once for every batch size and set, and replayed. The
same step runs without a graph on a CPU, where it is compared with `Learner.step`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dasm.errors import ConfigError
from dasm.machine import counts
from dasm.machine.precision import products
from dasm.recipe import Recipe
from dasm.steps.draws import BLOCK, Draws, Plan, block
from dasm.types import LabelledImages

_WARM_UP = 3  # steps before a recording, in which libraries choose kernels and take their memory


@cache
def _side_stream(device: int) -> torch.cuda.Stream:
    # One for all recordings: cuBLAS keeps a workspace of tens of MiB for every stream that it has seen.
    return torch.cuda.Stream(device)


@final
class Stepper:
    """g networks that learn side by side, each from draws of its own.

    Attributes:
        momenta: of SGD, one tensor per parameter.
    """

    def __init__(
        self,
        logits: Callable[[Float[Tensor, "g n c h w"]], Float[Tensor, "g n k"]],
        parameters: Sequence[Tensor],
        buffers: Sequence[Tensor],
        recipe: Recipe,
    ) -> None:
        """Start with zero momentum.

        Args:
            logits: of all networks at once.
            parameters: what `logits` depends on; changed in place.
            buffers: what else a call of `logits` may change.
            recipe: without `one` among its augmentations.
        """
        self.momenta = [torch.zeros_like(parameter) for parameter in parameters]
        self._logits = logits
        self._parameters = list(parameters)
        self._state = [*parameters, *buffers, *self.momenta]
        self._recipe = recipe
        device = self._parameters[0].device
        self._row = torch.zeros(1, dtype=torch.long, device=device)
        self._rate = torch.zeros((), dtype=self._parameters[0].dtype, device=device)
        self._data: LabelledImages | None = None
        self._draws: Draws | None = None
        self._loaded: tuple[Plan, int, tuple[int, ...]] | None = None
        self._graphs: dict[int, tuple[Callable[[], None], counts.Counts]] = {}

    def run(self, data: LabelledImages, first: int, count: int, streams: Sequence[int], rate: float) -> None:
        """Take `count` steps, from number `first` of the runs through `data` that the streams define, one per network.

        They are those of `Learner.step` up to the order of sums.

        Raises:
            ConfigError: on a GPU, a step cannot be recorded.
        """
        plan, replayed = Plan.of(data, self._recipe), data.labels.is_cuda and self._recipe.captured
        if data is not self._data:
            self._data = data
            self._forget()
        self._rate.fill_(rate)
        with torch.cuda.device_of(self._row):  # streams and recordings are those of the current device
            for step in range(first, first + count):
                number, row = divmod(step, BLOCK)
                if self._load(plan, number, tuple(streams)) or step == first:
                    self._row.fill_(row)
                self._take(plan.size(step), len(streams), replayed=replayed)

    def _load(self, plan: Plan, number: int, streams: tuple[int, ...]) -> bool:
        if self._loaded == (plan, number, streams):
            return False
        drawn = block(plan, number, streams)
        if self._draws is None or self._draws.indices.shape != drawn.indices.shape:
            self._draws = drawn.copy()
            self._forget()
        else:
            for mine, new in zip(self._draws.tensors(), drawn.tensors(), strict=True):
                mine.copy_(new)
        self._loaded = (plan, number, streams)
        return True

    def _take(self, n: int, networks: int, *, replayed: bool) -> None:
        if replayed:
            if n not in self._graphs:
                self._graphs[n] = self._recorded(n)
            replay, one = self._graphs[n]
            replay()
        else:
            with counts.aside() as one:
                self._step(n)
        # A replay calls no layer that could count; `vmap` shows the layers one network of many, and no gradient.
        images, passes = networks * n, 1 if one.backward_images else 3
        flops = networks * passes * one.flops
        counts.count(forward_images=images, backward_images=images, flops=flops, device=one.device)

    def _step(self, n: int) -> None:
        assert self._data is not None and self._draws is not None, "run says what to learn from"
        recipe = self._recipe
        images, truths, share = self._draws.batch(self._data, self._row, n)
        with products(recipe.precision, images.device.type):
            logits = self._logits(images).flatten(0, 1)
            every = [F.cross_entropy(logits, truth, reduction="none").unflatten(0, (-1, n)) for truth in truths]
            loss = (share * every[0].mean(1) + (1 - share) * every[1].mean(1)).sum()
            gradients = torch.autograd.grad(loss, self._parameters)
        with torch.no_grad():
            gradients = torch._foreach_add(gradients, self._parameters, alpha=recipe.weight_decay)
            torch._foreach_mul_(self.momenta, recipe.momentum)
            torch._foreach_add_(self.momenta, gradients)
            torch._foreach_sub_(self._parameters, torch._foreach_mul(self.momenta, self._rate))
        self._row += 1

    def _recorded(self, n: int) -> tuple[Callable[[], None], counts.Counts]:
        # Every time the row that is next: another one may hold a batch of another size.
        row = self._row.clone()
        with self._put_back(), counts.aside():
            side = _side_stream(torch.cuda.current_device())
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP):
                    self._row.copy_(row)
                    self._step(n)
            torch.cuda.current_stream().wait_stream(side)
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with counts.aside() as one, torch.cuda.graph(graph):
                self._step(n)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            # Such as a network that looks at a number of the GPU to decide what it does next. Ending the recording
            # raises anew; what it was is said by the error before that.
            torch.cuda.set_stream(stream)  # which a recording that failed may not have put back
            reason = str(error.__context__ or error).partition("\n")[0]
            raise ConfigError(
                f"network: a training step must be one that a CUDA graph can record, got {reason!r} (captured: false"
                " takes any step)"
            ) from error
        return graph.replay, one

    def _forget(self) -> None:
        if self._graphs:
            torch.cuda.synchronize()  # what is still to be replayed needs its memory
            self._graphs.clear()

    @contextmanager
    def _put_back(self) -> Iterator[None]:
        state = [*self._state, self._row]
        before = [tensor.detach().clone() for tensor in state]
        yield
        with torch.no_grad():
            for tensor, value in zip(state, before, strict=True):
                tensor.copy_(value)
