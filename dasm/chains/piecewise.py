"""Layers that are linear piece by piece: their second-order gradient is the first-order one (`dasm.chains.layers`)."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dasm.chains.layers import Layer
from dasm.machine.counts import count

_aten = torch.ops.aten


class Piecewise(Layer):
    """A map without second derivative, and without a weight or with one that takes no part in v."""

    def tangent(self, dot: Tensor | None) -> Tensor | None:
        return None if dot is None else self.moved(dot)

    def reverse(self, q: Tensor) -> Tensor:
        return self.backward(q)

    @abstractmethod
    def moved(self, dot: Tensor) -> Tensor:
        """Return the tangent of the output for one of the input."""


@final
class ReLU(Piecewise):
    """A rectifier. It works in place: no other layer keeps its own output."""

    def __init__(self, module: nn.ReLU) -> None: ...

    def forward(self, x: Tensor) -> Tensor:
        self._y = x.relu_()
        return self._y

    def backward(self, g: Tensor) -> Tensor:
        return _aten.threshold_backward(g, self._y, 0)

    def moved(self, dot: Tensor) -> Tensor:
        return self.backward(dot)


@final
class AveragePool(Piecewise):
    """Means of windows."""

    def __init__(self, module: nn.AvgPool2d) -> None:
        self._window = [_pair(module.kernel_size), _pair(module.stride), _pair(module.padding)]
        self._options = (module.ceil_mode, module.count_include_pad, module.divisor_override)

    def forward(self, x: Tensor) -> Tensor:
        self._x = x
        return self.moved(x)

    def backward(self, g: Tensor) -> Tensor:
        return _aten.avg_pool2d_backward(g, self._x, *self._window, *self._options)

    def moved(self, dot: Tensor) -> Tensor:
        return _aten.avg_pool2d(dot, *self._window, *self._options)


@final
class RectifiedMeans(Piecewise):
    """A rectifier and the means of windows that do not overlap, so that one pass over memory goes back through both."""

    def __init__(self, relu: nn.ReLU, pool: nn.AvgPool2d) -> None:
        self._relu = ReLU(relu)
        self._pool = AveragePool(pool)
        self._window = _pair(pool.kernel_size)

    @staticmethod
    def found(modules: Sequence[nn.Module]) -> tuple[nn.ReLU, nn.AvgPool2d] | None:
        """Return the pair that a chain begins with, if it is one."""
        relu, pool, *_ = (*modules, None, None)
        if not isinstance(relu, nn.ReLU) or not isinstance(pool, nn.AvgPool2d):
            return None
        apart = _pair(pool.kernel_size) == _pair(pool.stride) and not any(_pair(pool.padding))
        return (relu, pool) if apart and not pool.divisor_override else None

    def forward(self, x: Tensor) -> Tensor:
        self._y = self._relu.forward(x)
        return self._pool.forward(self._y)

    def backward(self, g: Tensor) -> Tensor:
        down, right = self._window
        if self._y.shape[2] % down or self._y.shape[3] % right:
            return self._relu.backward(self._pool.backward(g))
        windows = self._y.unflatten(3, (-1, right)).unflatten(2, (-1, down))
        spread = (g / (down * right))[:, :, :, None, :, None].expand(windows.shape)
        return _aten.threshold_backward(spread, windows, 0).flatten(4, 5).flatten(2, 3)

    def moved(self, dot: Tensor) -> Tensor:
        return self._pool.moved(self._relu.moved(dot))


@final
class MaxPool(Piecewise):
    """Largest values of windows."""

    def __init__(self, module: nn.MaxPool2d) -> None:
        self._window = [_pair(side) for side in (module.kernel_size, module.stride, module.padding, module.dilation)]
        self._ceil = module.ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        self._x = x
        y, self._where = _aten.max_pool2d_with_indices(x, *self._window, self._ceil)
        return y

    def backward(self, g: Tensor) -> Tensor:
        return _aten.max_pool2d_with_indices_backward(g, self._x, *self._window, self._ceil, self._where)

    def moved(self, dot: Tensor) -> Tensor:
        return dot.flatten(2).gather(2, self._where.flatten(2)).view_as(self._where)


@final
class Flatten(Piecewise):
    """From (b c h w) to (b d)."""

    def __init__(self, module: nn.Flatten) -> None: ...

    def forward(self, x: Tensor) -> Tensor:
        self._x = x
        return x.flatten(1)

    def backward(self, g: Tensor) -> Tensor:
        return torch.empty_like(self._x).copy_(g.view(self._x.shape))

    def moved(self, dot: Tensor) -> Tensor:
        return dot.flatten(1)


@final
class Dense(Piecewise):
    """A fully connected layer."""

    weighted: ClassVar[bool] = True

    def __init__(self, module: nn.Linear) -> None:
        self._module = module

    def forward(self, x: Tensor) -> Tensor:
        self._x = x
        self._count(x)
        return F.linear(x, self._module.weight, self._module.bias)

    def backward(self, g: Tensor) -> Tensor:
        self._g = g
        return self.reverse(g)

    def stop(self, g: Tensor) -> None:
        self._g = g

    def reverse(self, q: Tensor) -> Tensor:
        self._count(q)
        return q @ self._module.weight

    def moved(self, dot: Tensor) -> Tensor:
        self._count(dot)
        return F.linear(dot, self._module.weight)

    def gradients(self) -> list[Tensor]:
        self._count(self._x)
        bias = [] if self._module.bias is None else [self._g.sum(0)]
        return [self._g.T @ self._x, *bias]

    def _count(self, rows: Tensor) -> None:
        count(flops=2 * len(rows) * self._module.weight.numel())


def _pair(side: int | tuple[int, ...]) -> list[int]:
    return [side, side] if isinstance(side, int) else list(side)
