"""Layers with their derivatives written out, for feed-forward networks without statistics of a batch.

Gradient matching differentiates a weight gradient with respect to the images. For a direction v in weight space,
d/dx <d loss/d weights, v> = d/dx (d/de loss(weights + e v; x)): one tangent pass in the direction v and one pass back
through both (Pearlmutter, 1994). No weight gradient is taken a second time, and the way back reuses what the
first-order pass left behind. Every layer has four methods, called in this order:

    forward    the output y of an input x
    backward   gradient of the loss with respect to x, given that with respect to y
    tangent    derivative of y along v, given that of x; None is zero
    reverse    gradient of the loss's tangent with respect to x, given that with respect to y

Tensors are (b c h w) in whatever memory format they come; there is one v per class, and the images of a class lie
together, in equal numbers.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dasm.machine.counts import count

_aten = torch.ops.aten
_PIXELS = (2, 3)


class Layer(ABC):
    """One module at work on one batch; what a pass leaves behind for the next one is kept in the instance.

    Attributes:
        weighted: whether the module has parameters.
    """

    weighted: ClassVar[bool] = False

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return the output."""

    @abstractmethod
    def backward(self, g: Tensor) -> Tensor:
        """Return the gradient of the input."""

    @abstractmethod
    def tangent(self, dot: Tensor | None) -> Tensor | None:
        """Return the tangent of the output."""

    @abstractmethod
    def reverse(self, q: Tensor) -> Tensor:
        """Return the second-order gradient of the input."""

    def stop(self, g: Tensor) -> None:
        """Do what `backward` does where no earlier layer wants to know."""
        self.backward(g)

    def gradients(self) -> list[Tensor]:
        """Return the gradients of the module's parameters in their order, summed over the batch."""
        return []


class Matched(Layer):
    """A layer with a weight that is matched."""

    weighted: ClassVar[bool] = True

    @abstractmethod
    def turn(self, directions: Tensor) -> None:
        """Set the direction of the tangent pass of every class (k out in height width)."""

    @abstractmethod
    def per_class(self, classes: int) -> Tensor:
        """Return the gradient of the weight, class by class (k out in height width)."""


@final
class Convolution(Matched):
    """A convolution; `weight` is the module's in the memory format of the images."""

    def __init__(self, module: nn.Conv2d, weight: Tensor) -> None:
        self._module = module
        self._weight = weight
        self._options = (list(module.stride), list(module.padding), list(module.dilation), False, [0, 0], 1)
        self._directions: Sequence[Tensor] = ()

    def turn(self, directions: Tensor) -> None:
        order = (
            torch.channels_last
            if self._weight.is_contiguous(memory_format=torch.channels_last)
            else torch.contiguous_format
        )
        self._directions = [v.contiguous(memory_format=order) for v in directions]

    def forward(self, x: Tensor) -> Tensor:
        self._x = x
        return self._convolved(x, self._weight, self._module.bias)

    def backward(self, g: Tensor) -> Tensor:
        self._g = g
        return self._transposed(g, self._x, self._weight)

    def stop(self, g: Tensor) -> None:
        self._g = g

    def tangent(self, dot: Tensor | None) -> Tensor:
        parts = self._x.chunk(len(self._directions))
        moved = _joined([self._convolved(x, v, None) for x, v in zip(parts, self._directions, strict=True)])
        return moved if dot is None else moved.add_(self._convolved(dot, self._weight, None))

    def reverse(self, q: Tensor) -> Tensor:
        classes = len(self._directions)
        parts = zip(self._g.chunk(classes), self._x.chunk(classes), self._directions, strict=True)
        moved = _joined([self._transposed(g, x, v) for g, x, v in parts])
        return moved.add_(self._transposed(q, self._x, self._weight))

    def per_class(self, classes: int) -> Tensor:
        height, width = self._module.kernel_size
        down, right = self._module.stride
        top, left = (int(side) for side in self._module.padding)
        x = F.pad(self._x, (left, left, top, top)) if top or left else self._x
        windows = x.unfold(2, height, down).unfold(3, width, right).permute(0, 2, 3, 4, 5, 1)
        columns = _copied(windows).view(classes, -1, height * width * x.shape[1])
        g = self._g.permute(0, 2, 3, 1).reshape(classes, -1, self._g.shape[1])
        count(flops=2 * columns.numel() * g.shape[2])
        return (columns.transpose(1, 2) @ g).unflatten(1, (height, width, -1)).permute(0, 4, 3, 1, 2)

    def gradients(self) -> list[Tensor]:
        bias = [] if self._module.bias is None else [self._g.sum((0, *_PIXELS))]
        return [self.per_class(1)[0], *bias]

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y = _aten.convolution(x, weight, bias, *self._options)
        count(flops=2 * y.numel() * weight[0].numel())
        return y

    def _transposed(self, g: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        count(flops=2 * g.numel() * weight[0].numel())
        return _aten.convolution_backward(g, x, weight, None, *self._options, [True, False, False])[0]


@final
class InstanceNorm(Layer):
    """Group normalisation with one channel per group: y = weight * r * c + bias with c = x - mean(x).

    Means are over the pixels of one channel of one image, and r = (mean(c ** 2) + eps) ** -1/2. The derivative of r c,
    J u = r (u - mean(u) - r ** 2 * c * mean(c * u)), is symmetric, so that backward and tangent are one map and
    mean(g * J u) = mean(J g * u).
    """

    weighted: ClassVar[bool] = True

    def __init__(self, module: nn.GroupNorm) -> None:
        self._module = module

    def forward(self, x: Tensor) -> Tensor:
        self._c = x - _mean(x)
        self._r2 = (_mean(self._c * self._c) + self._module.eps).reciprocal_()
        self._r = self._r2.sqrt()
        self._scale = self._module.weight[:, None, None] * self._r
        return torch.addcmul(self._module.bias[:, None, None], self._c, self._scale)

    def backward(self, g: Tensor) -> Tensor:
        self._g, self._gc = _mean(g), _mean(g * self._c)
        self._back = self._jacobian(g, self._g, self._gc * self._scale)
        return self._back

    def tangent(self, dot: Tensor | None) -> Tensor | None:
        self._dot = dot
        if dot is not None:
            self._dot_c, self._dot_back = _mean(dot * self._c), _mean(dot * self._back)
            self._dot = self._jacobian(dot, _mean(dot), self._dot_c * self._scale)
        return self._dot

    def reverse(self, q: Tensor) -> Tensor:
        along_c = _mean(q * self._c) * self._scale
        if self._dot is None:
            return self._jacobian(q, _mean(q), along_c)
        # r, and c in r c, depend on x: what J g and J dot lose when x moves.
        found = self._jacobian(q, _mean(q), along_c + self._dot_back)
        found.addcmul_(self._back, self._dot_c * -self._r2)
        return found.addcmul_(self._dot, self._gc * -self._r2)

    def gradients(self) -> list[Tensor]:
        pixels = self._c.shape[2] * self._c.shape[3]
        return [(self._gc * self._r).sum((0, *_PIXELS)) * pixels, self._g.sum((0, *_PIXELS)) * pixels]

    def _jacobian(self, u: Tensor, mean: Tensor, along_c: Tensor) -> Tensor:
        return torch.addcmul(self._scale * -mean, self._c, along_c * -self._r2).addcmul_(u, self._scale)


def _mean(x: Tensor) -> Tensor:
    return x.mean(_PIXELS, keepdim=True)


def _copied(windows: Tensor) -> Tensor:
    # Overwritten by the next call: fresh memory of this size is mapped and zeroed page by page, which costs more on a
    # CPU than the copy.
    if windows.is_cuda:
        return windows.contiguous()
    room = getattr(_room, "room", None)
    if room is None or room.dtype != windows.dtype or room.numel() < windows.numel():
        room = _room.room = torch.empty(windows.numel(), dtype=windows.dtype)
    return room[: windows.numel()].view(windows.shape).copy_(windows)


_room = threading.local()


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
