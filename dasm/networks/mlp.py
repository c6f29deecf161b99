"""Multi-layer perceptron, the field's usual first unseen network (DC, arXiv 2006.05929)."""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import nn

from dasm import rng
from dasm.errors import at_least, within
from dasm.networks import Classifier, Network


@final
@dataclass(frozen=True, kw_only=True)
class MLP(Network):
    """Fully connected ReLU layers over the flattened image.

    Attributes:
        width: units of every hidden layer, >= 1 (128 in DC).
        depth: number of hidden layers, in [1, 1000] (2 in DC).
    """

    convolves: ClassVar[bool] = False
    width: int = 128
    depth: int = 2

    def __post_init__(self) -> None:
        """Refuse an empty network."""
        at_least(self, 1, "width")
        within(self, "[1, 1000]", "depth")

    def build(self, image_shape: tuple[int, int, int], num_classes: int, stream: int) -> Classifier:
        channels, height, width = image_shape
        layers: list[nn.Module] = [nn.Flatten()]
        inputs = channels * height * width
        with rng.fork(stream):
            for _ in range(self.depth):
                layers += [nn.Linear(inputs, self.width), nn.ReLU()]
                inputs = self.width
            head = nn.Linear(self.width, num_classes)
        return Classifier(nn.Sequential(*layers), head)
