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
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import functional_call

from dasm.augment import Transform
from dasm.networks import Classifier

#: Which images a step sees, and how.
Step = tuple[Int64[Tensor, " _"], Transform]


class Found(NamedTuple):
    """The distance L of a journey's end, and its slopes.

    Attributes:
        distance: L.
        pixels: dL/dX.
        rate: dL/dalpha.
        labels: dL/dY, where labels are distributions; else None.
    """

    distance: Float[Tensor, ""]
    pixels: Float[Tensor, "n c h w"]
    rate: Float[Tensor, ""]
    labels: Float[Tensor, "n k"] | None = None


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Journey:
    """A student's steps theta' = theta - alpha g(theta, X, Y), and the distance L of its end from the expert's.

    Attributes:
        network: of student and expert; it lends its shape, and its buffers are left alone.
        start: weights that both start from, in the order of `parameters()`.
        target: weights that the expert reached.
        images: all synthetic images, normalised.
        labels: their classes, or Y: a distribution over the classes for each.
        steps: which images each step sees, and how.
        rate: alpha.
        unmatched: so many weights, the first ones, are left out of the distance; the student learns them all the same.
    """

    network: Classifier
    start: Float[Tensor, " p"]
    target: Float[Tensor, " p"]
    images: Float[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"] | Float[Tensor, "n k"]
    steps: Sequence[Step]
    rate: Float[Tensor, ""]
    unmatched: int = 0

    def full(self) -> Found:
        """Return L and its slopes through one graph of all steps."""
        images, rate, weights = (x.detach().requires_grad_() for x in (self.images, self.rate, self.start))
        labels = self._leaf(self.labels)
        for step in self.steps:
            seen = images[step[0]], labels[step[0]], step[1]
            weights = weights - rate * self._gradient(weights, *seen, differentiable=True)
        distance = self._matched(weights - self.target).square().sum() / self._apart
        inputs = [images, rate, *([labels] if labels.requires_grad else [])]
        return Found(distance.detach(), *torch.autograd.grad(distance, inputs))

    def constant(self) -> Found:
        """Return the same with the graph of one step at a time.

        With the adjoint a = dL/dtheta', a step gives dL/dX -= alpha d(g.a)/dX, the same for Y, and dL/dalpha -= g.a,
        and passes on a - alpha d(g.a)/dtheta to the step before it.
        """
        length, kept, weights = math.isqrt(max(0, len(self.steps) - 1)) + 1, [], self.start
        for number, step in enumerate(self.steps):
            if number % length == 0:
                kept.append(weights)
            weights = self._after(weights, step)
        left, apart = weights - self.target, self._apart
        left[: self.unmatched] = 0
        adjoint, pixels, slope = 2 * left / apart, torch.zeros_like(self.images), torch.zeros_like(self.rate)
        answers = torch.zeros_like(self.labels) if self.labels.is_floating_point() else None
        for first in reversed(range(0, len(self.steps), length)):
            stretch, path = self.steps[first : first + length], [kept.pop()]
            for step in stretch[:-1]:
                path.append(self._after(path[-1], step))
            for step in reversed(stretch):
                weights, images = (x.detach().requires_grad_() for x in (path.pop(), self.images[step[0]]))
                labels = self._leaf(self.labels[step[0]])
                along = self._gradient(weights, images, labels, step[1], differentiable=True) @ adjoint
                inputs = [weights, images, *([labels] if labels.requires_grad else [])]
                bend, pull, *turn = torch.autograd.grad(along, inputs)
                pixels[step[0]] -= self.rate * pull
                if answers is not None:
                    answers[step[0]] -= self.rate * turn[0]
                slope -= along.detach()
                adjoint = adjoint - self.rate * bend
        return Found(self._matched(left).square().sum() / apart, pixels, slope, answers)

    @property
    def _apart(self) -> Float[Tensor, ""]:
        return self._matched(self.start - self.target).square().sum()

    def _matched(self, weights: Float[Tensor, " p"]) -> Float[Tensor, " q"]:
        return weights[self.unmatched :]

    def _leaf(self, labels: Tensor) -> Tensor:
        return labels.detach().requires_grad_(labels.is_floating_point())

    def _after(self, weights: Tensor, step: Step) -> Float[Tensor, " p"]:
        seen = self.images[step[0]], self.labels[step[0]], step[1]
        return weights - self.rate * self._gradient(weights.detach().requires_grad_(), *seen)

    def _gradient(
        self, weights: Tensor, images: Tensor, labels: Tensor, transform: Transform, *, differentiable: bool = False
    ) -> Float[Tensor, " p"]:
        loss = F.cross_entropy(logits_at(self.network, weights, transform(images)), labels)
        (found,) = torch.autograd.grad(loss, weights, create_graph=differentiable)
        return found


def logits_at(
    network: Classifier, weights: Float[Tensor, " p"], images: Float[Tensor, "b c h w"]
) -> Float[Tensor, "b k"]:
    """Return what a network would say of normalised images with other weights, in the order of `parameters()`.

    Its own weights and its buffers are left alone.
    """
    own = dict(network.named_parameters())
    parts = weights.split([parameter.numel() for parameter in own.values()])
    named = {name: part.view_as(parameter) for (name, parameter), part in zip(own.items(), parts, strict=True)}
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    return functional_call(network, {**named, **buffers}, (images,))
