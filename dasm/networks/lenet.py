"""LeNet with ReLU and max pooling, a small unseen network (LeCun et al., 1998; in the list of DC, arXiv 2006.05929).

Difference from DC's code: the first convolution keeps the size of colour images too, so that its last layers read 576
features of 32 pixels a side, not 400.
"""

from dataclasses import dataclass
from typing import final

from torch import nn

from dasm import rng
from dasm.errors import require
from dasm.networks import Classifier, Network


@final
@dataclass(frozen=True, kw_only=True)
class LeNet(Network):
    """Two 5x5 convolutions (6 and 16 channels), each with ReLU and 2x2 max pooling, then layers of 120 and 84 units."""

    def build(self, image_shape: tuple[int, int, int], num_classes: int, stream: int) -> Classifier:
        channels, height, width = image_shape
        require(min(height, width) >= 12, "sides must be >= 12 for lenet", (height, width))
        # The first convolution keeps the size (as on 28-pixel digits), the second has no padding.
        flat = 16 * ((height // 2 - 4) // 2) * ((width // 2 - 4) // 2)
        with rng.fork(stream):
            body = nn.Sequential(
                nn.Conv2d(channels, 6, 5, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(6, 16, 5),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(flat, 120),
                nn.ReLU(),
                nn.Linear(120, 84),
                nn.ReLU(),
            )
            head = nn.Linear(84, num_classes)
        return Classifier(body, head)
