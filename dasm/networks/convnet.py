"""ConvNet: blocks of 3x3 convolution, normalisation, ReLU, 2x2 average pooling (Gidaris & Komodakis, CVPR 2018).

The field's standard network (DC, arXiv 2006.05929; IDC, arXiv 2205.14959). Difference from both:

1. Grey images are not padded to 32 pixels: 28 pixels become 3 after three blocks, not 4.
"""

from dataclasses import dataclass
from typing import Literal, final

from torch import nn

from dasm import rng
from dasm.errors import at_least, require, within
from dasm.networks import Classifier, Network

_GROUPS = 4  # as in DC


@final
@dataclass(frozen=True, kw_only=True)
class ConvNet(Network):
    """Depth x (convolution, normalisation, ReLU, halving of the sides), then one linear layer.

    Attributes:
        width: channels of every block, >= 1, with norm `group` a multiple of 4 (128 in DC and IDC).
        depth: number of blocks, in [1, 30], each halving the sides. `null` is 2 up to 16 pixels on the smaller side, 3
            up to 32 (DC), 4 up to 64 (DC), 5 up to 128 (MTT, arXiv 2203.11932), 6 up to 256 (RDED, arXiv 2312.03526).
        norm: `instance` is group normalisation with one channel per group, `group` with four groups, `layer` is over
            channels, height and width with a scale and shift for each, all as in DC; `none` leaves it out. `batch`
            alone keeps statistics: in training, an image's logits depend on its company.
    """

    width: int = 128
    depth: int | None = None
    norm: Literal["instance", "batch", "group", "layer", "none"] = "instance"

    def __post_init__(self) -> None:
        """Refuse an empty network."""
        at_least(self, 1, "width")
        within(self, "[1, 30]", "depth")
        if self.norm == "group":
            require(self.width % _GROUPS == 0, f"width must be a multiple of {_GROUPS} for group norm", self.width)

    def build(self, image_shape: tuple[int, int, int], num_classes: int, stream: int) -> Classifier:
        channels, height, width = image_shape
        depth = self.depth or max(2, (min(height, width) - 1).bit_length() - 2)
        smallest = 2**depth
        require(min(height, width) >= smallest, f"sides must be >= {smallest} for depth {depth}", (height, width))
        layers: list[nn.Module] = []
        with rng.fork(stream):
            for _ in range(depth):
                convolution = nn.Conv2d(channels, self.width, 3, padding=1)
                layers += [convolution, *self._norm(height, width), nn.ReLU(), nn.AvgPool2d(2)]
                channels, height, width = self.width, height // 2, width // 2
            head = nn.Linear(self.width * height * width, num_classes)
        return Classifier(nn.Sequential(*layers, nn.Flatten()), head)

    def _norm(self, height: int, width: int) -> list[nn.Module]:
        match self.norm:
            case "instance":
                return [nn.GroupNorm(self.width, self.width)]
            case "group":
                return [nn.GroupNorm(_GROUPS, self.width)]
            case "batch":
                return [nn.BatchNorm2d(self.width)]
            case "layer":
                return [nn.LayerNorm([self.width, height, width])]
            case "none":
                return []
