"""Vision transformer, tiny (Dosovitskiy et al., ICLR 2021, arXiv 2010.11929; DeiT-Ti, arXiv 2012.12877).

The encoder is torchvision's. Differences from torchvision:

1. Patches are small on small images, and sides that they do not divide are padded with zeros, the mean colour, so that
   images need not be square.
2. The head is initialised as any linear layer, not with zeros, which would stop the first gradient from reaching the
   body. No dropout.
"""

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from dasm import rng
from dasm.errors import at_least, require, within
from dasm.networks import Classifier, Network


@final
@dataclass(frozen=True, kw_only=True)
class ViT(Network):
    """Patches and a class token with learned positions, pre-norm transformer blocks, one linear layer on the token.

    Attributes:
        width: features per token, >= 1, a multiple of `heads` (192 in DeiT-Ti).
        depth: number of blocks, in [1, 1000] (12 in DeiT-Ti).
        heads: of every attention, >= 1 (3 in DeiT-Ti).
        patch: side of a patch, >= 1; `null` takes 2 up to 16 pixels, 4 up to 32, 8 up to 64 and 16 above.
    """

    width: int = 192
    depth: int = 12
    heads: int = 3
    patch: int | None = None

    def __post_init__(self) -> None:
        """Refuse an empty network and heads that do not divide the width."""
        within(self, "[1, 1000]", "depth")
        at_least(self, 1, "heads", "width", "patch")
        require(self.width % self.heads == 0, f"width must be a multiple of {self.heads} heads", self.width)

    def build(self, image_shape: tuple[int, int, int], num_classes: int, stream: int) -> Classifier:
        channels, height, width = image_shape
        side = min(height, width)
        patch = self.patch or (2 if side <= 16 else 4 if side <= 32 else 8 if side <= 64 else 16)
        require(side >= patch, f"sides must be >= {patch} for patches of {patch}", (height, width))
        from torchvision.models.vision_transformer import Encoder  # type: ignore[import-untyped]

        tokens = 1 + math.ceil(height / patch) * math.ceil(width / patch)
        with rng.fork(stream):
            projection = nn.Conv2d(channels, self.width, patch, stride=patch)
            nn.init.trunc_normal_(projection.weight, std=(channels * patch**2) ** -0.5)
            nn.init.zeros_(projection.bias)  # type: ignore[arg-type]
            encoder = Encoder(tokens, self.depth, self.heads, self.width, 4 * self.width, 0.0, 0.0)
            head = nn.Linear(self.width, num_classes)
        padding = nn.ZeroPad2d((0, -width % patch, 0, -height % patch))
        return Classifier(_Body(nn.Sequential(padding, projection), encoder, self.width), head)


@final
class _Body(nn.Module):
    """Patches to tokens to the class token's features."""

    def __init__(self, patches: nn.Module, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.patches = patches
        self.encoder = encoder
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, inputs: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        tokens = self.patches(inputs).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(inputs), -1, -1), tokens], dim=1)
        # Fused attention cannot be differentiated twice, which matching gradients does for images that it moves.
        with sdpa_kernel(SDPBackend.MATH) if inputs.requires_grad else nullcontext():
            features: Tensor = self.encoder(tokens)[:, 0]
        return features
