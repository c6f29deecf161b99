"""Whether the networks that a study names can see images of its size, before hours are spent on the first of them."""

from collections.abc import Iterator, Mapping
from typing import Any

from dasm.errors import ConfigError
from dasm.networks import Network
from dasm.plugins import build


def fitting(options: Mapping[str, Any], where: str, image_shape: tuple[int, int, int], num_classes: int) -> Network:
    """Return the network of some options.

    Args:
        options: its name and what else there is to say.
        where: dotted path of the options, for messages.
        image_shape: channels, height, width.
        num_classes: number of logits.

    Raises:
        ConfigError: the images are too small for it.
    """
    network = build(Network, options, where)  # type: ignore[type-abstract]
    try:
        network.build(image_shape, num_classes, 0)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return network


def check_networks(study: Mapping[str, Any], image_shape: tuple[int, int, int], num_classes: int) -> None:
    """Build every network that a study names once; raise as `fitting` does."""
    for where, options in _named(study, ""):
        fitting(options, where, image_shape, num_classes)


def _named(values: object, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    # Wherever they stand: in blocks, in an arm's departures from them, in the benchmark's list.
    if isinstance(values, Mapping):
        for key, value in values.items():
            path = f"{where}.{key}" if where else str(key)
            if key == "network" and isinstance(value, Mapping) and "name" in value:
                yield path, value
            elif key == "networks" and isinstance(value, list):
                yield from ((f"{path}[{number}]", options) for number, options in enumerate(value))
            else:
                yield from _named(value, path)
