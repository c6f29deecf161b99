"""ResNet (He et al., CVPR 2016, arXiv 1512.03385), out of torchvision's blocks, with a stem for small images.

Differences from torchvision:

1. The stem depends on the image size as in IDC (arXiv 2205.14959): torchvision's own above 128 pixels, a 3x3
   convolution with stride 1 before the 3x3 max pooling above 64, and without pooling below (as usual on CIFAR).
2. The last strides are left out on images so small that fewer than 2 x 2 pixels would remain (below 16 pixels).
3. No activation works in place.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, final

from torch import nn

from dasm import rng
from dasm.errors import at_least, require
from dasm.networks import Classifier, Network, halvings, out_of_place

_BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


@final
@dataclass(frozen=True, kw_only=True)
class ResNet(Network):
    """A stem, four stages of residual blocks, global average pooling, one linear layer.

    Attributes:
        depth: 10 (one block per stage, IDC's unseen network) and 18 have basic blocks, 50 has bottlenecks.
        width: channels of the first stage, >= 1; 32 is IDC's ResNet-10 for CIFAR.
        norm: `instance` is group normalisation with one channel per group (DC, arXiv 2006.05929).
    """

    depth: Literal[10, 18, 50] = 18
    width: int = 64
    norm: Literal["batch", "instance"] = "batch"

    def __post_init__(self) -> None:
        """Refuse an empty network."""
        at_least(self, 1, "width")

    def build(self, image_shape: tuple[int, int, int], num_classes: int, stream: int) -> Classifier:
        require(min(image_shape[1:]) >= 2, "sides must be >= 2 for resnet", image_shape[1:])
        with rng.fork(stream):
            body = nn.Sequential(*self._stem(image_shape), *self._stages(halvings(image_shape, 3)))
            for part in body.modules():
                if isinstance(part, nn.Conv2d):
                    nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            head = nn.Linear(8 * self.width * (4 if self.depth == 50 else 1), num_classes)
        return Classifier(out_of_place(body.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten()])), head)

    def _stem(self, image_shape: tuple[int, int, int]) -> list[nn.Module]:
        channels, side = image_shape[0], min(image_shape[1:])
        kernel, stride = (7, 2) if side > 128 else (3, 1)
        convolution = nn.Conv2d(channels, self.width, kernel, stride, padding=kernel // 2, bias=False)
        pool = [nn.MaxPool2d(3, stride=2, padding=1)] if side > 64 else []
        return [convolution, self._norm(self.width), nn.ReLU(), *pool]

    def _stages(self, halved: int) -> list[nn.Module]:
        from torchvision.models.resnet import BasicBlock, Bottleneck  # type: ignore[import-untyped]

        kind = Bottleneck if self.depth == 50 else BasicBlock
        block = partial(kind, norm_layer=self._norm)
        blocks: list[nn.Module] = []
        inputs = self.width
        for stage, count in enumerate(_BLOCKS[self.depth]):
            planes, stride = self.width * 2**stage, 2 if 1 <= stage <= halved else 1
            outputs = planes * kind.expansion
            shortcut = None
            if inputs != outputs:
                shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), self._norm(outputs))
            blocks.append(block(inputs, planes, stride, shortcut))
            blocks += [block(outputs, planes) for _ in range(count - 1)]
            inputs = outputs
        return blocks

    def _norm(self, channels: int) -> nn.Module:
        return nn.BatchNorm2d(channels) if self.norm == "batch" else nn.GroupNorm(channels, channels)
