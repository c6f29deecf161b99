"""Every network of the folder, narrow versions of what would take seconds a step, and the options worth a test."""

import re

import torch

from dasm.errors import ConfigError
from dasm.networks import Network
from dasm.plugins import build
from tests.handmade import listed

NAMES = listed("networks")

# Narrow versions of what would take seconds a step; whatever is not named here is tried with its default options.
NARROW = {
    "alexnet": {"widths": [16, 24, 32, 24, 24]},
    "convnet": {"width": 16},
    "convnext": {"width": 12, "depths": [1, 1, 2, 1]},
    "densenet": {"growth": 4, "blocks": [2, 3, 2, 2]},
    "efficientnet": {"width": 0.25, "depth": 0.25},
    "resnet": {"depth": 10, "width": 8},
    "resnet_ap": {"width": 8},
    "vgg": {"width": 8},
    "vit": {"width": 24, "depth": 2},
}
VARIANTS = [
    *((name, {}) for name in NAMES),
    *(("convnet", {"norm": norm}) for norm in ("batch", "group", "layer", "none")),
    ("resnet", {"norm": "instance"}),
    ("resnet", {"depth": 50}),
    ("resnet", {"depth": 50, "norm": "instance"}),
    ("resnet_ap", {"norm": "batch"}),
    ("resnet_ap", {"depth": 18}),
    ("vgg", {"norm": "instance"}),
]


def variant_id(variant) -> str:
    name, options = variant
    return "-".join([name, *map(str, options.values())])


def made(name, **options) -> Network:
    return build(Network, {"name": name, **options}, "network")


def narrow(name, **options) -> Network:
    return made(name, **NARROW.get(name, {}) | options)


def smallest_side(network, channels, side):
    """The smallest side that works according to the refusal of `side`, or `side` itself where it is not refused."""
    try:
        network.build((channels, side, side), 2, 0)
    except ConfigError as error:
        return int(re.search(r"sides must be >= (\d+)", str(error)).group(1))
    return side


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
