"""Counters of images and floating-point operations, added to by whoever does the work and read by `dasm.ledger`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(kw_only=True)
class Counts:
    """What has been counted since counting began.

    Attributes:
        forward_images: images that went through a network.
        backward_images: those of them that a gradient was taken through; a double backward counts once.
        flops: floating-point operations of convolutions and linear layers, a multiply-add being two.
    """

    forward_images: int = 0
    backward_images: int = 0
    flops: int = 0


_open: list[Counts] = []
_lock = threading.Lock()  # `dasm.spread` works on several threads


def count(*, forward_images: int = 0, backward_images: int = 0, flops: int = 0) -> None:
    """Add to every counter that is open."""
    with _lock:
        for counts in _open:
            counts.forward_images += forward_images
            counts.backward_images += backward_images
            counts.flops += flops


@contextmanager
def counting(counts: Counts) -> Iterator[None]:
    """Keep a counter open for the block."""
    _open.append(counts)
    try:
        yield
    finally:
        _open.remove(counts)
