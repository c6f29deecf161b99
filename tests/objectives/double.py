"""Sets and networks in double precision, for comparison with equations written out."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dasm.networks import Classifier, Network
from dasm.networks.convnet import ConvNet
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.train import Recipe, Trainer
from dasm.types import LabelledImages
from tests.conftest import make_blobs


@dataclass(frozen=True, kw_only=True)
class Double(Network):
    """Another architecture in double precision."""

    inner: Network

    def build(self, image_shape, num_classes, stream) -> Classifier:
        return self.inner.build(image_shape, num_classes, stream).double()


def trainer(depth: int = 2, **recipe: object) -> Trainer:
    """A small ConvNet in double precision that learns plainly: SGD without anything."""
    plain = {"batch_size": 4, "momentum": 0.0, "weight_decay": 0.0, "augmentation": (), "cutmix": 0.0}
    return Trainer(network=Double(inner=ConvNet(width=3, depth=depth)), recipe=Recipe(**(plain | recipe)))


def blobs(per_class: int = 7) -> LabelledImages:
    data = make_blobs(per_class, seed=0)
    return replace(data, images=data.pixels().double())


def pixels(data: LabelledImages, count: int = 2, seed: int = 1) -> list[Tensor]:
    """Leaf tensors of noise, one per class."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, *data.image_shape)
    return [
        torch.rand(shape, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(data.num_classes)
    ]


def batches(data: LabelledImages, leaves: list[Tensor]) -> tuple[RealBatches, SyntheticBatches]:
    real = RealBatches(data=data, weights=torch.ones(len(data)), stream=3)
    return real, SyntheticBatches(pixels=leaves, factor=1, mean=data.mean, std=data.std, stream=3)


def normalised(images: Tensor, data: LabelledImages) -> Tensor:
    return (images - data.mean.double()[:, None, None]) / data.std.double()[:, None, None]


def assert_same(ours: Tensor, theirs: Tensor, leaves: list[Tensor]) -> None:
    """A value and its pixel gradient agree to a billionth."""
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=0)
    for a, b in zip(torch.autograd.grad(ours, leaves), torch.autograd.grad(theirs, leaves), strict=True):
        assert b.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(b.abs().max()))
