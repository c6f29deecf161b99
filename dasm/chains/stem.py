"""The first convolution of a network together with the instance normalisation after it, with its derivatives.

A convolution of a few input channels makes its largest tensor out of very little: what leaves it lies, pixel by pixel,
in the span of the d = in x height x width numbers of a patch. So whatever the normalisation has to know follows from
the (d d) covariance of an image's patches, and its output is one product of the patches with weights scaled image by
image. With an image's centred patches X (p d), C = X'X / p, the weight W (d c) and the norm's weight n and bias b:

    s = diag(W' C W)    r = (s + eps) ** -1/2    a = n r    y = X (W a) + b

Tensors of (p c) numbers are only ever factors or results of matrix products; normalised as `dasm.chains.layers` does
it, they were a fifth of a matching iteration of CIFAR-10 (benchmarks/README.md). The convolution's own bias falls out
with the mean.
"""

from collections.abc import Sequence
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dasm.chains.layers import Matched
from dasm.machine.counts import count


@final
class Stem(Matched):
    """A convolution and its instance normalisation, nothing before them. Names follow the module's docstring."""

    def __init__(self, convolution: nn.Conv2d, norm: nn.GroupNorm, order: torch.memory_format) -> None:
        self._convolution = convolution
        self._norm = norm
        top, left = (int(side) for side in convolution.padding)
        self._padding = (top, left)
        self._channels_last = order == torch.channels_last
        self._w = convolution.weight.detach().flatten(1).T

    @staticmethod
    def found(modules: Sequence[nn.Module]) -> tuple[nn.Conv2d, nn.GroupNorm] | None:
        """Return the pair that a chain begins with, if its patches are smaller than what is made of them."""
        first, second, *_ = (*modules, None, None)
        if not isinstance(first, nn.Conv2d) or not isinstance(second, nn.GroupNorm):
            return None
        return (first, second) if first.weight[0].numel() < first.out_channels else None

    def turn(self, directions: Tensor) -> None:
        self._directions = directions.flatten(2).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        self._image = x.shape[2:]
        patches = self._patches(x)
        self._pixels = patches.shape[2]
        # Transposed, with a row of ones for the bias, under which `_seen` finds the sum over the pixels.
        self._x1 = patches.new_ones(len(patches), patches.shape[1] + 1, self._pixels)
        x = torch.sub(patches, patches.mean(2, keepdim=True), out=self._x1[:, :-1]).double()
        # In 64 bits: a filter that cancels nearly all of the covariance leaves few of its digits.
        cw = _product(x, x.transpose(1, 2)).div_(self._pixels) @ self._w.double()
        self._r2 = ((self._w * cw).sum(1, keepdim=True) + self._norm.eps).reciprocal_().to(patches.dtype)
        self._cw = cw.to(patches.dtype)
        self._r = self._r2.sqrt()
        self._a = self._norm.weight * self._r
        return self._mixed(torch.cat([self._w * self._a, self._norm.bias.expand(len(patches), 1, -1)], 1))

    def backward(self, g: Tensor) -> Tensor:  # noqa: ARG002
        raise AssertionError("nothing lies before a stem")

    def stop(self, g: Tensor) -> None:
        self._g = _rows(g)
        self._xg, self._sum_g = self._seen(self._g)
        self._wxg = _along(self._w, self._xg)

    def per_class(self, classes: int) -> Tensor:
        images = self._a * (self._xg - self._cw * (self._r2 * self._wxg))
        return (
            images.unflatten(0, (classes, -1)).sum(1).transpose(1, 2).unflatten(2, self._convolution.weight.shape[1:])
        )

    def gradients(self) -> list[Tensor]:
        bias = [] if self._convolution.bias is None else [torch.zeros_like(self._convolution.bias)]
        return [self.per_class(1)[0], *bias, (self._r * self._wxg).sum((0, 1)), self._sum_g.sum((0, 1))]

    def tangent(self, dot: Tensor | None) -> Tensor:
        assert dot is None, "nothing lies before a stem"
        self._v = self._directions.repeat_interleave(len(self._x1) // len(self._directions), 0)
        self._half_ds = _along(self._v, self._cw)
        self._dwa = self._a * (self._v - self._w * (self._r2 * self._half_ds))
        return self._mixed(self._dwa)

    def reverse(self, q: Tensor) -> Tensor:
        rows = _rows(q)
        xq, _ = self._seen(rows)
        # <q, y> + <g, tangent of y> depends on X directly, and through C: on s by r, and on half_ds = diag(V' C W).
        ar2 = self._a * self._r2
        by_s = (3 * self._r2 * self._half_ds * self._wxg - _along(self._w, xq) - _along(self._v, self._xg)) * ar2 / 2
        by_half_ds = -ar2 * self._wxg
        by_c = (2 * self._w * by_s + self._v * by_half_ds) @ self._w.T
        by_c += (self._w * by_half_ds) @ self._v.transpose(1, 2)
        found = _product(self._w * self._a, rows.transpose(1, 2))
        found += _product(self._dwa, self._g.transpose(1, 2))
        found += _product(by_c / self._pixels, self._x1[:, :-1])
        found -= found.mean(2, keepdim=True)
        size, step = self._convolution.kernel_size, self._convolution.stride
        return F.fold(found, self._image, size, padding=self._padding, stride=step)

    def _patches(self, x: Tensor) -> Tensor:
        sizes, steps = self._convolution.kernel_size, self._convolution.stride
        self._sides = [
            (side + 2 * pad - size) // step + 1
            for side, pad, size, step in zip(self._image, self._padding, sizes, steps, strict=True)
        ]
        # As `F.unfold`, which a GPU does image by image.
        top, left = self._padding
        windows = F.pad(x, (left, left, top, top)).unfold(2, sizes[0], steps[0]).unfold(3, sizes[1], steps[1])
        return windows.permute(0, 1, 4, 5, 2, 3).flatten(1, 3).flatten(2)

    def _mixed(self, weights: Tensor) -> Tensor:
        # (b c h w) in the memory format of the images.
        x = self._x1[:, : weights.shape[1]]
        if self._channels_last:
            y = _product(x.transpose(1, 2), weights).transpose(1, 2)
        else:
            y = _product(weights.transpose(1, 2), x)
        return y.unflatten(2, self._sides)

    def _seen(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        both = _product(self._x1, rows)
        return both[:, :-1], both[:, -1:]


def _rows(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def _along(weights: Tensor, other: Tensor) -> Tensor:
    return (weights * other).sum(1, keepdim=True)


def _product(a: Tensor, b: Tensor) -> Tensor:
    count(flops=2 * a.numel() * b.shape[2])
    return torch.bmm(a, b)
