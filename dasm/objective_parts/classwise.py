"""Weight gradients class by class, distances between them, and the derivative of these with respect to the images.

Two ways that agree up to the order of sums: by autograd, one class after another, for any network; and for chains
(`dasm.chains`) with the classes sharing every pass, because one network reads them all alike. Only the weight gradients
are taken class by class there, and none is differentiated (`dasm.chains.layers` says how).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dasm.augment import Transform
from dasm.chains.chain import Chain, Pass
from dasm.errors import ConfigError
from dasm.machine.counts import count
from dasm.machine.spread import evenly, spread, total
from dasm.networks import Classifier

_NO_CONVOLUTION = "network: gradient matching compares convolution weights, got a network without any"

Distance = Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor]


def class_gradients(
    network: Classifier,
    images: Float[Tensor, "b c h w"],
    label: int,
    transform: Transform,
    *,
    differentiable: bool = False,
) -> Sequence[Tensor]:
    """Return the gradient of one class's mean loss with respect to every convolution weight.

    Args:
        network: a classifier with convolutions.
        images: normalised images of one class.
        label: that class.
        transform: one draw, applied to every image alike.
        differentiable: keep the graph, so that the gradient can be differentiated with respect to the images.

    Raises:
        ConfigError: the network has no convolution.
    """
    # Biases, norm scales and the classifier do not take part (IDC).
    weights = [parameter for parameter in network.parameters() if parameter.dim() == 4]
    if not weights:
        raise ConfigError(_NO_CONVOLUTION)
    return loss_gradients(network, weights, images, label, transform, differentiable=differentiable)


def loss_gradients(
    network: Classifier,
    weights: Sequence[Tensor],
    images: Float[Tensor, "b c h w"],
    label: int,
    transform: Transform,
    *,
    differentiable: bool,
) -> Sequence[Tensor]:
    """Return the gradient of one class's mean loss with respect to some of a network's weights.

    The other arguments are those of `class_gradients`.
    """
    labels = torch.full((len(images),), label, device=images.device)
    loss = F.cross_entropy(network(transform.repeat(len(images))(images)), labels)
    return torch.autograd.grad(loss, weights, create_graph=differentiable)


def distance(synthetic: Sequence[Tensor], real: Sequence[Tensor], metric: str) -> Float[Tensor, ""]:
    """Return the summed distance over pairs of weight gradients of shape (out, in, height, width)."""
    pairs = list(zip(synthetic, real, strict=True))
    if metric == "mse":
        return torch.stack([(s - r).square().sum() for s, r in pairs]).sum()
    if metric == "l1":
        return torch.stack([(s - r).abs().sum() for s, r in pairs]).sum()
    return row_distance(synthetic, real)


def row_distance(synthetic: Sequence[Tensor], real: Sequence[Tensor]) -> Float[Tensor, ""]:
    """Return the sum of 1 - cosine over the rows of pairs of weight gradients of shape (out, …)."""
    rows = [(s.flatten(1), r.flatten(1)) for s, r in zip(synthetic, real, strict=True)]
    # 1e-6 as in DC and IDC, where a row can have no gradient at all.
    cosines = [(s * r).sum(1) / (s.norm(dim=1) * r.norm(dim=1) + 1e-6) for s, r in rows]
    return torch.stack([(1 - cosine).sum() for cosine in cosines]).sum()


def chain_gradients(chain: Chain, images: Float[Tensor, "k b c h w"], labels: Int64[Tensor, " k"]) -> list[Tensor]:
    """Return the gradients of the classes' mean losses on every convolution weight, none of them differentiable.

    Args:
        chain: the network.
        images: normalised, b of each of k classes.
        labels: those classes.

    Returns:
        One tensor per convolution, (k * out in height width), class by class.
    """
    return _first_order(chain, images, labels, keep=False)[0]


def chain_distance(
    chain: Chain,
    images: Float[Tensor, "k b c h w"],
    labels: Int64[Tensor, " k"],
    target: Sequence[Tensor],
    distance: Distance,
) -> Float[Tensor, ""]:
    """Return a distance between the classes' gradients and a target, differentiable once, in the images alone.

    Args:
        chain: the network.
        images: normalised, b of each of k classes.
        labels: those classes.
        target: as from `chain_gradients`.
        distance: of the gradients to the target; differentiable.
    """
    value: Tensor = _ChainDistance.apply(images, chain, labels, target, distance)
    return value


class _ChainDistance(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - what torch passes here has no public type
        images: Tensor,
        chain: Chain,
        labels: Tensor,
        target: Sequence[Tensor],
        distance: Distance,
    ) -> Tensor:
        found, passes = _first_order(chain, images, labels, keep=True)
        with torch.enable_grad():
            value = distance([gradient.requires_grad_() for gradient in found], target)
        directions = torch.autograd.grad(value, found)
        ctx.save_for_backward(_second_order(passes, directions, images.shape))
        return value.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (gradient,) = ctx.saved_tensors
        return g * gradient, None, None, None, None


def neighbours(
    batches: Iterable[tuple[Tensor, ...]], first: int, limit: int
) -> Iterator[tuple[slice, list[tuple[Tensor, ...]]]]:
    """Yield neighbouring classes that can share their passes, as a range of classes and the batches of each.

    Args:
        batches: of each class one or more, class after class.
        first: the class of the first ones.
        limit: images of a side that may go through the network together; one class at least does.
    """
    group = list[tuple[Tensor, ...]]()
    for label, sides in enumerate(batches, first):
        sizes = [len(side) for side in sides]
        if group and (sizes != [len(side) for side in group[0]] or (len(group) + 1) * max(sizes) > limit):
            yield slice(first, label), group
            first, group = label, []
        group.append(sides)
    if group:
        yield slice(first, first + len(group)), group


def augmented(batches: Sequence[Float[Tensor, "b c h w"]], transform: Transform) -> Float[Tensor, "k b c h w"]:
    """Return batches of as many images each of several classes, all images of a class under its one draw."""
    count = len(batches[0])
    return transform.repeat(count)(torch.cat(list(batches))).unflatten(0, (-1, count))


def _first_order(
    chain: Chain, images: Tensor, labels: Tensor, *, keep: bool
) -> tuple[list[Tensor], list[tuple[Pass, Tensor]]]:
    if not any(isinstance(module, nn.Conv2d) for module in chain.modules):
        raise ConfigError(_NO_CONVOLUTION)
    classes, size = images.shape[:2]

    def passed(part: Tensor) -> tuple[list[Tensor], tuple[Pass, Tensor] | None]:
        run = chain.run(part.flatten(0, 1))
        count(forward_images=len(run.logits), backward_images=len(run.logits))
        odds = run.logits.softmax(1)
        truth = F.one_hot(labels, odds.shape[1]).repeat_interleave(part.shape[1], 0)
        run.backward((odds - truth) / size)
        return [layer.per_class(classes) for layer in run.convolutions()], (run, odds) if keep else None

    parts = evenly(images, chain.part(images.shape[2:]) // classes, dim=1)
    gradients, passes = zip(*spread(passed, parts, images.device), strict=True)
    found = [total(parts) for parts in zip(*gradients, strict=True)]
    return [gradient.flatten(0, 1) for gradient in found], [p for p in passes if p is not None]


def _second_order(passes: list[tuple[Pass, Tensor]], directions: Sequence[Tensor], shape: torch.Size) -> Tensor:
    classes, size = shape[:2]

    def moved(piece: tuple[Pass, Tensor]) -> Tensor:
        run, odds = piece
        for layer, direction in zip(run.convolutions(), directions, strict=True):
            layer.turn(direction.unflatten(0, (classes, -1)))
        weighted = odds * run.tangent()
        found = run.reverse((weighted - odds * weighted.sum(1, keepdim=True)) / size)
        return found.unflatten(0, (classes, -1))

    return torch.cat(spread(moved, passes, directions[0].device), dim=1)
