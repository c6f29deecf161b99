"""Counters of images and floating-point operations, added to by whoever does the work."""

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
        flops: floating-point operations of convolutions, linear layers and attention, a multiply-add being two. Exact
            where the derivatives are written out (`dasm.chains`); elsewhere those of the forward pass by the sizes of
            its layers, times three if a gradient was taken (a double backward counts as a single one).
        device: where the last network ran.
        earlier_seconds: time that was spent before an interruption on work that was not lost by it. What was counted
            then is in the other numbers.
    """

    forward_images: int = 0
    backward_images: int = 0
    flops: int = 0
    device: str = "cpu"
    earlier_seconds: float = 0.0


_open: list[Counts] = []
_lock = threading.Lock()  # `dasm.machine.spread` works on several threads


def active() -> bool:
    """Return whether any counter is open."""
    return bool(_open)


def count(
    *,
    forward_images: int = 0,
    backward_images: int = 0,
    flops: int = 0,
    device: str | None = None,
    earlier_seconds: float = 0.0,
) -> None:
    """Add to every counter that is open."""
    with _lock:
        for counts in _open:
            counts.forward_images += forward_images
            counts.backward_images += backward_images
            counts.flops += flops
            counts.device = device or counts.device
            counts.earlier_seconds += earlier_seconds


@contextmanager
def counting(counts: Counts) -> Iterator[None]:
    """Keep a counter open for the block."""
    _open.append(counts)
    try:
        yield
    finally:
        # By identity: two counters that have counted the same are equal.
        _open[:] = [other for other in _open if other is not counts]


@contextmanager
def aside() -> Iterator[Counts]:
    """Keep what the block counts from all counters that are open, and give it to a new one instead."""
    own, others = Counts(), _open[:]
    _open[:] = [own]
    try:
        yield own
    finally:
        _open[:] = others
