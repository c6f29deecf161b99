"""VGG-11 (Simonyan & Zisserman, ICLR 2015, arXiv 1409.1556) with normalisation, as the field uses it (DC, 2006.05929).

Built here rather than by torchvision, whose constructor also makes the 124 million weights of a head that nobody reads.
Differences from the paper:

1. Every convolution is followed by a normalisation.
2. The head is one linear layer on globally averaged features, as in DC, without hidden layers and dropout. On 32
   pixels, where one pixel is left, that is DC's network to the letter.
3. Of the first four poolings, the last ones are left out on images so small that fewer than 2 x 2 pixels would remain
   (below 32 pixels); DC pads 28 pixels to 32 instead.
"""

from dataclasses import dataclass
from typing import Literal, final

from torch import nn

from dasm import rng
from dasm.errors import at_least, require
from dasm.networks import Classifier, Network, halvings

# Multiples of the width, pooling after each group.
_STAGES = ((1,), (2,), (4, 4), (8, 8), (8, 8))


@final
@dataclass(frozen=True, kw_only=True)
class VGG(Network):
    """Eight 3x3 convolutions with normalisation, ReLU and 2x2 max pooling, global average pooling, one linear layer.

    Attributes:
        width: channels of the first convolution, >= 1; the last four have eight times as many.
        norm: `instance` is group normalisation with one channel per group (DC's default).
    """

    width: int = 64
    norm: Literal["batch", "instance"] = "batch"

    def __post_init__(self) -> None:
        """Refuse an empty network."""
        at_least(self, 1, "width")

    def build(self, image_shape: tuple[int, int, int], num_classes: int, stream: int) -> Classifier:
        channels = image_shape[0]
        require(min(image_shape[1:]) >= 2, "sides must be >= 2 for vgg", image_shape[1:])
        pooled = halvings(image_shape, 4)
        layers: list[nn.Module] = []
        with rng.fork(stream):
            for stage, multiples in enumerate(_STAGES):
                for multiple in multiples:
                    outputs = multiple * self.width
                    layers += [nn.Conv2d(channels, outputs, 3, padding=1), self._norm(outputs), nn.ReLU()]
                    channels = outputs
                # No convolution follows the last pooling, so one pixel is enough there.
                layers += [nn.MaxPool2d(2)] if stage < pooled or stage == 4 else []
            head = nn.Linear(channels, num_classes)
        return Classifier(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), head)

    def _norm(self, channels: int) -> nn.Module:
        return nn.BatchNorm2d(channels) if self.norm == "batch" else nn.GroupNorm(channels, channels)
