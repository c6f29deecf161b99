"""ConvNet: blocks of 3x3 convolution, normalisation, ReLU, 2x2 average pooling (Gidaris & Komodakis, CVPR 2018).

The field's standard network (DC, arXiv 2006.05929; IDC, arXiv 2205.14959).
"""

from dataclasses import dataclass
from typing import Literal, final

from torch import nn

from dasm import rng
from dasm.errors import require
from dasm.networks import Classifier, Network


@final
@dataclass(frozen=True, kw_only=True)
class ConvNet(Network):
    """Depth x (convolution, normalisation, ReLU, halving of the sides), then one linear layer.

    Attributes:
        width: channels of every block (128 in DC and IDC).
        depth: number of blocks, each halving the sides; 3 for 32 pixels, 4 for 64 (DC).
        norm: `instance` is group normalisation with one channel per group, as in DC; `none` leaves it out. Neither
            keeps statistics of a batch, so an image's logits do not depend on its company.
    """

    width: int = 128
    depth: int = 3
    norm: Literal["instance", "none"] = "instance"

    def __post_init__(self) -> None:
        """Refuse an empty network."""
        require(self.width >= 1, "width must be >= 1", self.width)
        require(self.depth >= 1, "depth must be >= 1", self.depth)

    def build(self, image_shape: tuple[int, int, int], num_classes: int, stream: int) -> Classifier:
        channels, height, width = image_shape
        smallest = 2**self.depth
        require(min(height, width) >= smallest, f"sides must be >= {smallest} for depth {self.depth}", (height, width))
        layers: list[nn.Module] = []
        with rng.fork(stream):
            for _ in range(self.depth):
                layers += [nn.Conv2d(channels, self.width, 3, padding=1), *self._norm(), nn.ReLU(), nn.AvgPool2d(2)]
                channels, height, width = self.width, height // 2, width // 2
            head = nn.Linear(self.width * height * width, num_classes)
        return Classifier(nn.Sequential(*layers, nn.Flatten()), head)

    def _norm(self) -> list[nn.Module]:
        return [nn.GroupNorm(self.width, self.width)] if self.norm == "instance" else []
