"""Whether the networks that a study names can see images of its size, before hours are spent on the first of them."""

import json
import os
from collections.abc import Mapping
from typing import Any

import torch

from dasm.errors import ConfigError
from dasm.networks import Network
from dasm.plugins import build
from pipeline import layout

#: The blueprint's list of all networks of the study (`pipeline.graph.networks`). As with `enough.NEEDS`, no stage
#: depends on it.
NETWORKS = layout.BLUEPRINT / "networks.json"

_MOST_SAID = 160  # letters of torch's message
_PER_WEIGHT = 12  # bytes: the weight, its gradient, and the momentum of SGD


def fitting(options: Mapping[str, Any], where: str, image_shape: tuple[int, int, int], num_classes: int) -> Network:
    """Return the network of some options.

    Args:
        options: its name and what else there is to say.
        where: dotted path of the options, for messages.
        image_shape: channels, height, width.
        num_classes: number of logits.

    Raises:
        ConfigError: the images are too small for it, or it is too large for any machine.
    """
    network = build(Network, options, where)  # type: ignore[type-abstract]
    try:
        _check_weights(network, image_shape, num_classes)
        network.build(image_shape, num_classes, 0)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    except (
        MemoryError,
        OverflowError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:  # as torch says it of sizes beyond all measure
        said = " ".join(str(error).split())[:_MOST_SAID]
        raise ConfigError(
            f"{where}: must be a network that fits into memory, got {type(error).__name__}: {said}"
        ) from error
    return network


def _check_weights(network: Network, image_shape: tuple[int, int, int], num_classes: int) -> None:
    """Count the weights where they take no memory: those that take all there is would end other programs, too.

    Raises:
        ConfigError: with a gradient and a momentum each, they need more than this machine has.
    """
    with torch.device("meta"):
        weights = sum(weight.numel() for weight in network.build(image_shape, num_classes, 0).parameters())
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if weights * _PER_WEIGHT > have:
        need = f"{weights:.3g} weights ({weights * _PER_WEIGHT / 1e9:.0f} GB while it learns, of {have / 1e9:.0f} GB)"
        raise ConfigError(f"must be a network that fits into memory, got {need}")


def check_networks(image_shape: tuple[int, int, int], num_classes: int) -> None:
    """Build every network of the study once; raise as `fitting` does."""
    for network in json.loads(NETWORKS.read_text()):
        fitting(network["options"], network["where"], image_shape, num_classes)
