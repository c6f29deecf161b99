"""Feed-forward networks as a chain of the layers of `dasm.chains.layers`, run over a batch in parts that fit the cache.

Only networks whose images do not see each other, and whose layers all have their derivatives written out, are chains.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, final
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dasm.chains.layers import Convolution, InstanceNorm, Layer, Matched
from dasm.chains.piecewise import AveragePool, Dense, Flatten, MaxPool, RectifiedMeans, ReLU
from dasm.chains.stem import Stem
from dasm.machine.spread import evenly, spread, total

# Bytes of the largest tensor of a part. CPU: measured at 32 x 32, width 128 (benchmarks/README.md). GPU: not measured;
# fewer, larger launches as far as some 14 GiB go (a part takes seven times its largest tensor).
_PART_BYTES = {"cpu": 16 << 20, "cuda": 2 << 30}

# By the last module of a chain and the shape of its images; a network that is dropped takes its answer with it.
_LARGEST: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], int]] = WeakKeyDictionary()

_PLAIN: dict[type[nn.Module], Callable[[Any], Layer]] = {
    nn.ReLU: ReLU,
    nn.MaxPool2d: MaxPool,
    nn.AvgPool2d: AveragePool,
    nn.Flatten: Flatten,
    nn.Linear: Dense,
}


@final
class Chain:
    """A network whose layers follow each other, its weights as they are at the moment.

    Attributes:
        modules: the layers' modules in their order.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        """Use `of` instead."""
        self.modules = modules
        self._device = next(parameter.device for module in modules for parameter in module.parameters())
        # On a CPU, pooling and convolutions are several times faster with the channels last.
        self._order = torch.channels_last if self._device.type == "cpu" else torch.contiguous_format

    @staticmethod
    def of(*modules: nn.Module) -> "Chain | None":
        """Return the chain of modules that are applied one after another, or nothing if they are none."""
        leaves = [leaf for module in modules for leaf in _leaves(module)]
        return Chain(leaves) if all(_known(leaf) for leaf in leaves) else None

    @torch.no_grad()
    def run(self, images: Float[Tensor, "b c h w"]) -> "Pass":
        """Return the first pass of a batch."""
        return Pass([make() for make in self._makers], images.contiguous(memory_format=self._order))

    def pays(self, images: Float[Tensor, "b c h w"]) -> bool:
        """Return whether a training step on a CPU is faster with the written derivatives than with autograd's."""
        # Measured (benchmarks/README.md): torch's own normalisation is what is slow; else parts on several cores help.
        normalises = any(isinstance(module, nn.GroupNorm) for module in self.modules)
        return normalises or len(images) > self.part(tuple(images.shape[1:]))

    def __call__(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k"]:
        """Return the logits, differentiable once, in the parameters alone."""
        parameters = [parameter for module in self.modules for parameter in module.parameters()]
        logits: Tensor = _Logits.apply(self, images, *parameters)
        return logits

    def part(self, image_shape: tuple[int, ...]) -> int:
        """Return how many images of a shape make a part that fits, at least one."""
        return max(1, _PART_BYTES[self._device.type] // _largest(self.modules, image_shape))

    @cached_property
    def _makers(self) -> list[Callable[[], Layer]]:
        modules, makers = list(self.modules), list[Callable[[], Layer]]()
        if stem := Stem.found(modules):
            makers.append(partial(Stem, *stem, self._order))
            del modules[:2]
        while modules:
            if means := RectifiedMeans.found(modules):
                makers.append(partial(RectifiedMeans, *means))
                del modules[:2]
            else:
                makers.append(self._maker(modules.pop(0)))
        return makers

    def _maker(self, module: nn.Module) -> Callable[[], Layer]:
        if isinstance(module, nn.Conv2d):
            return partial(Convolution, module, module.weight.detach().contiguous(memory_format=self._order))
        if isinstance(module, nn.GroupNorm):
            return partial(InstanceNorm, module)
        return partial(_PLAIN[type(module)], module)


@final
class Pass:
    """One batch on its way through a chain.

    Attributes:
        logits: what comes out at the end.
    """

    def __init__(self, layers: Sequence[Layer], images: Tensor) -> None:
        """Go forward."""
        self._layers = layers
        self.logits = images
        for layer in layers:
            self.logits = layer.forward(self.logits)
        # What lies before the first weights is never asked for its gradient.
        self._first = next(i for i, layer in enumerate(layers) if layer.weighted)

    def convolutions(self) -> list[Matched]:
        """Return the layers whose weights are matched."""
        return [layer for layer in self._layers if isinstance(layer, Matched)]

    @torch.no_grad()
    def backward(self, g: Float[Tensor, "b k"]) -> None:
        """Bring the gradient of the logits down to every weight."""
        for layer in reversed(self._layers[self._first + 1 :]):
            g = layer.backward(g)
        self._layers[self._first].stop(g)

    @torch.no_grad()
    def gradients(self) -> list[Tensor]:
        """Return the gradients of all parameters in their order, after `backward`."""
        return [gradient for layer in self._layers for gradient in layer.gradients()]

    @torch.no_grad()
    def tangent(self) -> Float[Tensor, "b k"]:
        """Return the tangent of the logits along the convolutions' `directions`, after `backward`."""
        dot = None
        for layer in self._layers:
            dot = layer.tangent(dot)
        assert dot is not None, "a chain that is asked for a tangent has convolutions"
        return dot

    @torch.no_grad()
    def reverse(self, q: Float[Tensor, "b k"]) -> Float[Tensor, "b c h w"]:
        """Return the second-order gradient of the images, given that of the logits, after `tangent`."""
        for layer in reversed(self._layers):
            q = layer.reverse(q)
        return q


class _Logits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, chain: Chain, images: Tensor, *parameters: Tensor) -> Tensor:  # noqa: ANN401, ARG004
        parts = evenly(images, chain.part(tuple(images.shape[1:])))
        if not any(ctx.needs_input_grad):
            return torch.cat(spread(lambda part: chain.run(part).logits, parts, images.device))
        ctx.passes = spread(chain.run, parts, images.device)
        return torch.cat([run.logits for run in ctx.passes])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        def gradients(piece: tuple[Pass, Tensor]) -> list[Tensor]:
            run, rows = piece
            run.backward(rows)
            return run.gradients()

        pieces = zip(ctx.passes, g.split([len(run.logits) for run in ctx.passes]), strict=True)
        parts = spread(gradients, pieces, g.device)
        return None, None, *(total(more) for more in zip(*parts, strict=True))


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    if type(module) is nn.Sequential:
        for child in module:
            yield from _leaves(child)
    else:
        yield module


def _known(module: nn.Module) -> bool:
    if type(module) is nn.Conv2d:
        plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
        return plain and not isinstance(module.padding, str)
    if type(module) is nn.GroupNorm:
        return module.num_groups == module.num_channels and module.affine
    if type(module) is nn.MaxPool2d:
        return not module.return_indices
    if type(module) is nn.Flatten:
        return (module.start_dim, module.end_dim) == (1, -1)
    return type(module) in _PLAIN


def _largest(modules: Sequence[nn.Module], image_shape: tuple[int, ...]) -> int:
    # Bytes of the largest tensor of one image; sizes alone, so the answer holds whatever the weights become.
    known = _LARGEST.setdefault(modules[-1], {})
    if image_shape not in known:
        with torch.no_grad():
            weight = next(parameter for module in modules for parameter in module.parameters())
            x, known[image_shape] = weight.new_zeros(1, *image_shape), 1
            for module in modules:
                x = module(x)
                known[image_shape] = max(known[image_shape], x.numel() * x.element_size())
    return known[image_shape]
