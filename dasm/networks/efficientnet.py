"""EfficientNet-B0 (Tan & Le, ICML 2019, arXiv 1905.11946), torchvision's, with a stem for small images.

Differences from torchvision:

1. Up to 64 pixels the first convolution has stride 1.
2. The last strides are left out on images so small that fewer than 2 x 2 pixels would remain (below 32 pixels).
3. No dropout and no stochastic depth: they would draw from torch's global stream. No activation works in place.
"""

from dataclasses import dataclass
from typing import final

from torch import nn

from dasm import rng
from dasm.errors import require, within
from dasm.networks import Classifier, Network, halvings, out_of_place

# Table 1 of the paper: expansion, kernel, whether the stage halves the sides, channels in and out, layers.
_STAGES = (
    (1, 3, False, 32, 16, 1),
    (6, 3, True, 16, 24, 2),
    (6, 5, True, 24, 40, 2),
    (6, 3, True, 40, 80, 3),
    (6, 5, False, 80, 112, 3),
    (6, 5, True, 112, 192, 4),
    (6, 3, False, 192, 320, 1),
)


@final
@dataclass(frozen=True, kw_only=True)
class EfficientNet(Network):
    """Seven stages of inverted residuals with squeeze and excitation, batch normalisation and SiLU, one linear layer.

    Attributes:
        width: factor of all channels, in (0, 1000], rounded to multiples of 8 (1 for B0).
        depth: factor of the layers of every stage, in (0, 100], rounded up (1 for B0).
    """

    width: float = 1.0
    depth: float = 1.0

    def __post_init__(self) -> None:
        """Refuse an empty network."""
        within(self, "(0, 1000]", "width")
        within(self, "(0, 100]", "depth")

    def build(self, image_shape: tuple[int, int, int], num_classes: int, stream: int) -> Classifier:
        channels, side = image_shape[0], min(image_shape[1:])
        require(side >= 2, "sides must be >= 2 for efficientnet", image_shape[1:])
        from torchvision.models.efficientnet import EfficientNet as Architecture  # type: ignore[import-untyped]
        from torchvision.models.efficientnet import MBConvConfig

        left = halvings(image_shape, 4)
        stages = []
        for expansion, kernel, halves, inputs, outputs, layers in _STAGES:
            stride = 2 if halves and left > 0 else 1
            left -= halves
            stages.append(MBConvConfig(expansion, kernel, stride, inputs, outputs, layers, self.width, self.depth))
        with rng.fork(stream):
            model = Architecture(stages, dropout=0.0, stochastic_depth_prob=0.0, num_classes=num_classes)
            width, stride = stages[0].input_channels, 1 if side <= 64 else 2
            model.features[0][0] = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
            nn.init.kaiming_normal_(model.features[0][0].weight, mode="fan_out")
        body = nn.Sequential(model.features, model.avgpool, nn.Flatten())
        return Classifier(out_of_place(body), model.classifier[-1])
