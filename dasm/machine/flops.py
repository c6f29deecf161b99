"""Floating-point operations and sizes of a forward pass, read off its layers by hooks while it runs.

torch's own counter sees every operation, but imports the compiler, which costs every stage seconds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


@dataclass(kw_only=True)
class Seen:
    """What passed through the layers of a network.

    Attributes:
        flops: of convolutions, linear layers and self-attention, a multiply-add being two.
        largest: bytes of the largest output of a layer.
        outputs: bytes of all outputs of layers that have no parts.
    """

    flops: int = 0
    largest: int = 1
    outputs: int = 0


@contextmanager
def watched(network: nn.Module) -> Iterator[Seen]:
    """Watch the layers of a network during the block. What is seen inside `vmap` is one of its many."""
    seen = Seen()

    def look(module: nn.Module, _: object, output: Any) -> None:  # noqa: ANN401 - attention gives a pair
        result = output[0] if isinstance(output, tuple) else output
        seen.flops += _flops(module, result)
        size = result.numel() * result.element_size()
        seen.largest = max(seen.largest, size)
        seen.outputs += 0 if any(module.children()) else size

    handles = [part.register_forward_hook(look) for part in network.modules() if part is not network]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _flops(module: nn.Module, y: Tensor) -> int:
    if isinstance(module, _ConvNd):
        return 2 * y.numel() * module.weight[0].numel()
    if isinstance(module, nn.Linear):
        return 2 * y.numel() * module.in_features
    if isinstance(module, nn.MultiheadAttention):
        # Queries, keys, values and what leaves are products with (e e); scores and their use with (tokens e).
        tokens = y.shape[1 if module.batch_first else 0]
        return 2 * y.numel() * (4 * module.embed_dim + 2 * tokens)
    return 0
