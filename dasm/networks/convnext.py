"""ConvNeXt-T (Liu et al., CVPR 2022, arXiv 2201.03545), torchvision's, with a stem for small images.

Differences from torchvision:

1. The stem is the paper's 4x4 convolution with stride 4 above 64 pixels, a 2x2 one with stride 2 above 16, and a 3x3
   one with stride 1 below.
2. No stochastic depth: it would draw from torch's global stream.
"""

from dataclasses import dataclass
from typing import final

from torch import nn

from dasm import rng
from dasm.errors import at_least, require
from dasm.networks import Classifier, Network


@final
@dataclass(frozen=True, kw_only=True)
class ConvNeXt(Network):
    """Four stages of 7x7 depthwise blocks with layer normalisation and GELU, global average pooling, one linear layer.

    Attributes:
        width: channels of the first stage, >= 1; every other doubles them (96 for T).
        depths: blocks of the four stages, each in [1, 1000].
    """

    width: int = 96
    depths: tuple[int, ...] = (3, 3, 9, 3)

    def __post_init__(self) -> None:
        """Refuse an empty network."""
        at_least(self, 1, "width")
        good = len(self.depths) == 4 and all(1 <= layers <= 1000 for layers in self.depths)
        require(good, "depths must be four numbers in [1, 1000]", self.depths)

    def build(self, image_shape: tuple[int, int, int], num_classes: int, stream: int) -> Classifier:
        channels, side = image_shape[0], min(image_shape[1:])
        require(side >= 8, "sides must be >= 8 for convnext", image_shape[1:])
        from torchvision.models.convnext import CNBlockConfig  # type: ignore[import-untyped]
        from torchvision.models.convnext import ConvNeXt as Architecture

        widths = [self.width * 2**stage for stage in range(4)]
        stages = [CNBlockConfig(*stage) for stage in zip(widths, [*widths[1:], None], self.depths, strict=True)]
        kernel, stride, padding = (4, 4, 0) if side > 64 else (2, 2, 0) if side > 16 else (3, 1, 1)
        with rng.fork(stream):
            model = Architecture(stages, stochastic_depth_prob=0.0, num_classes=num_classes)
            stem = nn.Conv2d(channels, self.width, kernel, stride, padding)
            nn.init.trunc_normal_(stem.weight, std=0.02)
            nn.init.zeros_(stem.bias)  # type: ignore[arg-type]
        model.features[0][0] = stem
        norm, flatten, head = model.classifier
        return Classifier(nn.Sequential(model.features, model.avgpool, norm, flatten), head)
