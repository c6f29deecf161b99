"""ResNetAP: a residual network that averages where others stride (IDC, Kim et al., ICML 2022, arXiv 2205.14959).

IDC matches ImageNet gradients through it. Differences from IDC's released code:

1. The first stage is 64 channels wide at every image size; IDC's CIFAR version is `width: 32`.
2. The last poolings are left out on images so small that fewer than 2 x 2 pixels would remain (below 16 pixels).
3. Features are averaged over the whole map; IDC's window is square, so that other shapes lose a part.
"""

from dataclasses import dataclass
from typing import Literal, final

from jaxtyping import Float
from torch import Tensor, nn

from dasm import rng
from dasm.errors import at_least, require
from dasm.networks import Classifier, Network, halvings

_Norm = Literal["instance", "batch"]


@final
@dataclass(frozen=True, kw_only=True)
class ResNetAP(Network):
    """A stem for the image size, four stages of basic blocks, global average pooling, one linear layer.

    The stem is a 7x7 convolution with 4x4 average pooling above 128 pixels, a 3x3 one with 2x2 pooling above 64, and a
    3x3 one without pooling below. Every stage but the first halves the sides and doubles the channels.

    Attributes:
        depth: 10 has one block per stage (IDC's for ImageNet), 18 has two.
        width: channels of the first stage, >= 1.
        norm: `instance` is group normalisation with one channel per group (IDC's for matching).
    """

    depth: Literal[10, 18] = 10
    width: int = 64
    norm: _Norm = "instance"

    def __post_init__(self) -> None:
        """Refuse an empty network."""
        at_least(self, 1, "width")

    def build(self, image_shape: tuple[int, int, int], num_classes: int, stream: int) -> Classifier:
        channels, side = image_shape[0], min(image_shape[1:])
        require(side >= 2, "sides must be >= 2 for resnet_ap", image_shape[1:])
        kernel, pool = (7, 4) if side > 128 else (3, 2) if side > 64 else (3, 1)
        halved = halvings(image_shape, 3)
        with rng.fork(stream):
            layers: list[nn.Module] = [_convolution(channels, self.width, kernel), _norm(self.width, self.norm)]
            layers += [nn.ReLU(), *_pool(pool)]
            channels = self.width
            for stage in range(4):
                outputs = self.width * 2**stage
                layers.append(_Block(channels, outputs, 2 if 1 <= stage <= halved else 1, self.norm))
                layers += [_Block(outputs, outputs, 1, self.norm) for _ in range(self.depth // 8 - 1)]
                channels = outputs
            head = nn.Linear(channels, num_classes)
        return Classifier(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), head)


@final
class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut, added before the last ReLU."""

    def __init__(self, inputs: int, outputs: int, pool: int, norm: _Norm) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _convolution(inputs, outputs, 3),
            _norm(outputs, norm),
            nn.ReLU(),
            *_pool(pool),
            _convolution(outputs, outputs, 3),
            _norm(outputs, norm),
        )
        changed = [_convolution(inputs, outputs, 1), *_pool(pool), _norm(outputs, norm)]
        self.shortcut = nn.Sequential(*changed if inputs != outputs else [])
        self.relu = nn.ReLU()

    def forward(self, inputs: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h2 w2"]:
        outputs: Tensor = self.relu(self.residual(inputs) + self.shortcut(inputs))
        return outputs


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution


def _norm(channels: int, norm: _Norm) -> nn.Module:
    return nn.GroupNorm(channels, channels) if norm == "instance" else nn.BatchNorm2d(channels)


def _pool(size: int) -> list[nn.Module]:
    return [nn.AvgPool2d(size)] if size > 1 else []
