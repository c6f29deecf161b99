"""AlexNet (Krizhevsky, 2014, arXiv 1404.5997), in the small form in which the field uses it (DC, arXiv 2006.05929).

Built here rather than by torchvision, whose constructor also makes the 58 million weights of a head that nobody reads.
Differences:

1. The channels are DC's at every image size; those of the paper are an option.
2. The head is one linear layer on globally averaged features, without hidden layers and dropout: DC's reads the
   flattened 4 x 4 map of a 32-pixel image.
3. Grey images are not padded to 32 pixels as in DC.
"""

from dataclasses import dataclass
from typing import final

from torch import nn

from dasm import rng
from dasm.errors import require
from dasm.networks import Classifier, Network


@final
@dataclass(frozen=True, kw_only=True)
class AlexNet(Network):
    """Five convolutions with ReLU and max pooling after the first, second and last, and one linear layer; no norm.

    Up to 64 pixels the first convolution is 5x5 and the poolings 2x2 (DC); above, it is 11x11 with stride 4 and the
    poolings are 3x3 with stride 2 (the paper).

    Attributes:
        widths: channels of the five convolutions, each >= 1; 64, 192, 384, 256, 256 in the paper.
    """

    widths: tuple[int, ...] = (128, 192, 256, 192, 192)

    def __post_init__(self) -> None:
        """Refuse other depths."""
        good = len(self.widths) == 5 and min(self.widths) >= 1
        require(good, "widths must be five numbers >= 1", self.widths)

    def build(self, image_shape: tuple[int, int, int], num_classes: int, stream: int) -> Classifier:
        channels, side = image_shape[0], min(image_shape[1:])
        require(side >= 8, "sides must be >= 8 for alexnet", image_shape[1:])
        large = side > 64
        layers: list[nn.Module] = []
        with rng.fork(stream):
            for index, width in enumerate(self.widths):
                kernel = 5 if index < 2 else 3
                if index == 0 and large:
                    layers.append(nn.Conv2d(channels, width, 11, stride=4, padding=2))
                else:
                    layers.append(nn.Conv2d(channels, width, kernel, padding=kernel // 2))
                layers.append(nn.ReLU())
                if index in (0, 1, 4):
                    layers.append(nn.MaxPool2d(3 if large else 2, stride=2))
                channels = width
            head = nn.Linear(channels, num_classes)
        return Classifier(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), head)
