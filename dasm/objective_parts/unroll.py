"""A few steps of plain SGD, differentiated with respect to the images they are taken on and to their size.

Through one graph of all steps, memory grows with their number. TESLA (arXiv 2211.10586) writes the end as
theta_0 - alpha (g_0 + ... + g_(N-1)) and differentiates one g_i at a time. That is constant in memory because it treats
theta_i as if it did not depend on the images of the steps before i: where the chain rule has the adjoint
a_i = (I - alpha H_i) a_(i+1), with H_i the Hessian of step i, TESLA has a_N for every step, and so drops every term
with a Hessian. Here they are kept: the adjoint walks back over the weights of every step, one Hessian-vector product
each. Of N weights every sqrt(N)-th is stored on the way out, and those in between are found again, sqrt(N) at a time,
on the way back. That costs two more forward and backward passes per step than the whole graph, and 2 sqrt(N) vectors.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import functional_call

from dasm.augment import Transform
from dasm.networks import Classifier

#: Which images a step sees, and how.
Step = tuple[Int64[Tensor, " _"], Transform]


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Journey:
    """A student's steps theta' = theta - alpha g(theta, X), and the distance L of its end from the expert's.

    Attributes:
        network: of student and expert; it lends its shape, and its buffers are left alone.
        start: weights that both start from, in the order of `parameters()`.
        target: weights that the expert reached.
        images: all synthetic images, normalised.
        labels: their classes.
        steps: which images each step sees, and how.
        rate: alpha.
    """

    network: Classifier
    start: Float[Tensor, " p"]
    target: Float[Tensor, " p"]
    images: Float[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"]
    steps: Sequence[Step]
    rate: Float[Tensor, ""]

    def full(self) -> tuple[Float[Tensor, ""], Float[Tensor, "n c h w"], Float[Tensor, ""]]:
        """Return L, dL/dX and dL/dalpha through one graph of all steps."""
        images, rate, weights = (x.detach().requires_grad_() for x in (self.images, self.rate, self.start))
        for step in self.steps:
            weights = weights - rate * self._gradient(weights, images[step[0]], step, differentiable=True)
        distance = (weights - self.target).square().sum() / (self.start - self.target).square().sum()
        pixels, slope = torch.autograd.grad(distance, [images, rate])
        return distance.detach(), pixels, slope

    def constant(self) -> tuple[Float[Tensor, ""], Float[Tensor, "n c h w"], Float[Tensor, ""]]:
        """Return the same with the graph of one step at a time.

        With the adjoint a = dL/dtheta', a step gives dL/dX -= alpha d(g.a)/dX and dL/dalpha -= g.a, and passes on
        a - alpha d(g.a)/dtheta to the step before it.
        """
        length, kept, weights = math.isqrt(max(0, len(self.steps) - 1)) + 1, [], self.start
        for number, step in enumerate(self.steps):
            if number % length == 0:
                kept.append(weights)
            weights = self._after(weights, step)
        left, apart = weights - self.target, (self.start - self.target).square().sum()
        adjoint, pixels, slope = 2 * left / apart, torch.zeros_like(self.images), torch.zeros_like(self.rate)
        for first in reversed(range(0, len(self.steps), length)):
            stretch, path = self.steps[first : first + length], [kept.pop()]
            for step in stretch[:-1]:
                path.append(self._after(path[-1], step))
            for step in reversed(stretch):
                weights, images = (x.detach().requires_grad_() for x in (path.pop(), self.images[step[0]]))
                along = self._gradient(weights, images, step, differentiable=True) @ adjoint
                bend, pull = torch.autograd.grad(along, [weights, images])
                pixels[step[0]] -= self.rate * pull
                slope -= along.detach()
                adjoint = adjoint - self.rate * bend
        return left.square().sum() / apart, pixels, slope

    def _after(self, weights: Tensor, step: Step) -> Float[Tensor, " p"]:
        return weights - self.rate * self._gradient(weights.detach().requires_grad_(), self.images[step[0]], step)

    def _gradient(
        self, weights: Tensor, images: Tensor, step: Step, *, differentiable: bool = False
    ) -> Float[Tensor, " p"]:
        own = dict(self.network.named_parameters())
        parts = weights.split([parameter.numel() for parameter in own.values()])
        named = {name: part.view_as(parameter) for (name, parameter), part in zip(own.items(), parts, strict=True)}
        buffers = {name: buffer.clone() for name, buffer in self.network.named_buffers()}
        logits = functional_call(self.network, {**named, **buffers}, (step[1](images),))
        loss = F.cross_entropy(logits, self.labels[step[0]])
        (found,) = torch.autograd.grad(loss, weights, create_graph=differentiable)
        return found
