"""Named random streams derived from one seed.

A stream is a plain integer. `derive(seed, "segment", k)` hashes the names into a new stream, so that neighbouring
seeds and neighbouring names share nothing (`seed + k` would make seed 0, k 1 equal to seed 1, k 0). Nothing here reads
or sets the global stream of torch, except network construction inside `fork`.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(stream: int, *names: str | int) -> int:
    """Return the stream that belongs to `names` under `stream`.

    Args:
        stream: any integer, 0 and negative ones included.
        names: what the draw is for; `1` and `"1"` are different names, and so are `("ab",)` and `("a", "b")`.

    Returns:
        An integer in [0, 2**63), the same on every machine.
    """
    digest = hashlib.blake2b(repr((int(stream), *names)).encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "big") >> 1


def generator(stream: int, *names: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a torch generator at the start of the stream `derive(stream, *names)`."""
    return torch.Generator(device=device).manual_seed(derive(stream, *names))


@contextmanager
def fork(stream: int) -> Iterator[None]:
    """Run the block with torch's global stream at the start of `stream`, and put the old one back afterwards.

    That of the CPU: networks are built there. `manual_seed` and a plain `fork_rng` would also wake every GPU, and warn
    where there are several.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(stream)
        yield
