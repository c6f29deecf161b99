"""DenseNet-121 (Huang et al., CVPR 2017, arXiv 1608.06993), torchvision's, with a stem for small images.

Differences from torchvision:

1. Up to 64 pixels the stem is one 3x3 convolution without norm and pooling, as in the paper on CIFAR.
2. The last poolings are left out on images so small that fewer than 2 x 2 pixels would remain (below 16 pixels).
3. No activation works in place.
"""

from dataclasses import dataclass
from typing import final

from torch import nn

from dasm import rng
from dasm.errors import at_least, require
from dasm.networks import Classifier, Network, halvings, out_of_place


@final
@dataclass(frozen=True, kw_only=True)
class DenseNet(Network):
    """Four dense blocks with batch normalisation and a halving between them, global average pooling, one linear layer.

    Attributes:
        growth: channels that every layer adds, >= 1; 12 is the DenseNet that IDC (arXiv 2205.14959) tests on CIFAR.
        blocks: layers of the four dense blocks, each in [1, 1000].
    """

    growth: int = 32
    blocks: tuple[int, ...] = (6, 12, 24, 16)

    def __post_init__(self) -> None:
        """Refuse an empty network."""
        at_least(self, 1, "growth")
        good = len(self.blocks) == 4 and all(1 <= layers <= 1000 for layers in self.blocks)
        require(good, "blocks must be four numbers in [1, 1000]", self.blocks)

    def build(self, image_shape: tuple[int, int, int], num_classes: int, stream: int) -> Classifier:
        channels, side = image_shape[0], min(image_shape[1:])
        require(side >= 2, "sides must be >= 2 for densenet", image_shape[1:])
        from torchvision.models.densenet import DenseNet as Architecture  # type: ignore[import-untyped]

        width = 2 * self.growth
        with rng.fork(stream):
            model = Architecture(self.growth, self.blocks, width, num_classes=num_classes)
            features = model.features
            kernel, stride = (3, 1) if side <= 64 else (7, 2)
            features.conv0 = nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=False)
            nn.init.kaiming_normal_(features.conv0.weight)
        if side <= 64:
            features.norm0 = features.relu0 = features.pool0 = nn.Identity()
        for transition in range(halvings(image_shape, 3), 3):
            features.get_submodule(f"transition{transition + 1}").pool = nn.Identity()
        body = nn.Sequential(features, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return Classifier(out_of_place(body), model.classifier)
