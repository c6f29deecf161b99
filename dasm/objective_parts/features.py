"""What methods that match features share: augmented pairs of batches, class means, and what hidden layers say."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dasm.errors import ConfigError
from dasm.machine import ranks
from dasm.networks import Classifier
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.objective_parts.shared import SharedTransforms

# Image pixels in one batch at most: 4,096 images of 32 x 32, whose first layer of 128 channels takes 2 GiB.
_BATCH_PIXELS = 1 << 22
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Hardswish, nn.Sigmoid, nn.Tanh)


def siamese_pairs(
    real: RealBatches,
    synthetic: SyntheticBatches,
    *,
    sizes: tuple[int, int | None],
    shared: SharedTransforms,
    iteration: int,
    stream: int,
) -> Iterator[tuple[Float[Tensor, "r c h w"], Float[Tensor, "s c h w"]]]:
    """Yield a real and a synthetic batch of every class of this process under one shared draw of the augmentation.

    Args:
        real: batches of the window.
        synthetic: batches of the segment, differentiable in its pixels.
        sizes: real and synthetic images per class; a smaller window is taken whole, None takes all synthetic images.
        shared: one draw per class.
        iteration: number of the pixel update, from 0.
        stream: of this iteration.
    """
    for label in ranks.mine(real.data.num_classes):
        transform = shared.of_class(label, iteration, stream)
        sides = real.draw(label, sizes[0], iteration), synthetic.draw(label, sizes[1], iteration)
        first, second = (transform.repeat(len(images))(images) for images in sides)
        yield first, second


def normalises_batches(network: nn.Module) -> bool:
    """Return whether what a network says of an image depends on the batch that it is in, in training."""
    return any(isinstance(layer, _BatchNorm) for layer in network.modules())


def groups(batches: Iterable[tuple[Tensor, ...]], *, whole: bool = False) -> Iterator[tuple[tuple[Tensor, ...], ...]]:
    """Yield batches of one class after the other in groups that go through a network together.

    Args:
        batches: of each class one or more, of images alike, at least one class.
        whole: put all classes into one group, as they belong where batches are normalised. Otherwise a group has as
            many classes as memory allows for any of its sides, at least one.

    Yields:
        For each side the batches of the group's classes, in their order.
    """
    group, images = list[tuple[Tensor, ...]](), 0
    for sides in batches:
        size = max(map(len, sides))
        if group and not whole and (images + size) * sides[0][0, 0].numel() > _BATCH_PIXELS:
            yield tuple(zip(*group, strict=True))
            group, images = [], 0
        group.append(sides)
        images += size
    yield tuple(zip(*group, strict=True))


def class_means(features: Float[Tensor, "b ..."], sizes: Sequence[int]) -> Float[Tensor, "k d"]:
    """Return the mean of every class; the features are those of one class after the other, `sizes` of each."""
    return torch.stack([part.mean(0) for part in features.flatten(1).split(list(sizes))])


def layer_features(
    network: Classifier, images: Float[Tensor, "b c h w"]
) -> tuple[list[Float[Tensor, "b ..."]], Float[Tensor, "b d"]]:
    """Return what every hidden layer says of the images, and what the last linear layer reads.

    A layer is a run of activations of one height and width, and speaks by the last of them: for a ConvNet that is every
    block before its pooling, for a residual network every stage. Activations without height and width each are a layer.

    Raises:
        ConfigError: the network has no activation module to listen to.
    """
    heard: list[Tensor] = []
    handles = [
        module.register_forward_hook(lambda _module, _inputs, output: heard.append(output))
        for module in network.body.modules()
        if isinstance(module, _ACTIVATIONS)
    ]
    try:
        embedding = network.features(images)
    finally:
        for handle in handles:
            handle.remove()
    if not heard:
        raise ConfigError("network: hidden layers are heard at activation modules, got a network without any")
    later = [*heard[1:], None]
    last = [a for a, b in zip(heard, later, strict=True) if b is None or a.dim() < 4 or a.shape[2:] != b.shape[2:]]
    return last, embedding
