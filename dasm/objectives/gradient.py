"""Gradient matching of decoded images (IDC, Kim et al., ICML 2022, arXiv 2205.14959).

For every class, the gradients of the classification loss of a real and of a decoded synthetic batch, under one shared
augmentation, should agree on the convolution weights. The network is drawn afresh every outer iteration and learns from
all real images between pixel updates. Differences from IDC's released code:

1. Only the drawn synthetic images are decoded (the same distribution).
2. All classes of one iteration see the same network and are differentiated before the pixels move; the momentum that
   moves a class during the others' turns is applied in closed form by `dasm.matching`, which gives the same pixels.
3. Real images keep their own streams per class and iteration instead of one global generator.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dasm import rng
from dasm.augment import Operation, Transform
from dasm.augment import draw as draw_transform
from dasm.batches import RealBatches, Sampler, SyntheticBatches
from dasm.errors import ConfigError, require
from dasm.networks import Classifier
from dasm.objectives import Objective, State, Surroundings
from dasm.pixels import PixelRule
from dasm.train import Learner, Trainer
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class Gradient(Objective):
    """Distance between class-wise gradients of real and synthetic batches.

    Attributes:
        metric: `mse` is the sum of squares, `l1` the sum of absolute values, `cosine` the sum over output channels of
            1 - cosine. IDC: mse for CIFAR and SVHN, l1 for MNIST and ImageNet. No division by any count.
        real_batch: real images per class and iteration (64 in IDC); a smaller window is taken whole.
        synthetic_batch: decoded synthetic images per class and iteration at most (128 in IDC).
        inner_iterations: pixel updates per network (100 in IDC).
        network_images: real images that the network learns from after every pixel update (2000 for CIFAR, 500
            elsewhere in IDC), rounded up to whole batches.
        augmentation: shared by both sides, one draw per class and iteration.
        sampler: `random` batches of the window, or `representative` ones (DREAM, arXiv 2302.14416).
        refresh: pixel updates between two choices of representatives (10 in DREAM).
    """

    class_by_class: ClassVar[bool] = True

    metric: Literal["mse", "l1", "cosine"] = "mse"
    real_batch: int = 64
    synthetic_batch: int = 128
    inner_iterations: int = 100
    network_images: int = 2000
    augmentation: tuple[Operation, ...] = ("color", "crop", "cutout")
    sampler: Literal["random", "representative"] = "random"
    refresh: int = 10

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require(self.real_batch >= 1, "real_batch must be >= 1", self.real_batch)
        require(self.synthetic_batch >= 1, "synthetic_batch must be >= 1", self.synthetic_batch)
        require(self.inner_iterations >= 1, "inner_iterations must be >= 1", self.inner_iterations)
        require(self.network_images >= 0, "network_images must be >= 0", self.network_images)
        require(self.refresh >= 1, "refresh must be >= 1", self.refresh)

    @property
    def period(self) -> int:
        return self.inner_iterations

    @property
    def rule(self) -> PixelRule:
        return PixelRule(learning_rate=5e-3, momentum=0.5, by_budget=True)

    def prepare(self, real: LabelledImages, trainer: Trainer, stream: int, surroundings: Surroundings) -> State:  # noqa: ARG002
        steps = -(-self.network_images // min(trainer.recipe.batch_size, len(real)))
        sampler = Sampler(self.sampler, self.refresh, rng.derive(stream, "sampler"))
        return _Network(real=real, trainer=trainer, stream=stream, steps=steps, sampler=sampler)

    def distances(
        self, state: State, real: RealBatches, synthetic: SyntheticBatches, iteration: int, draw: int
    ) -> Iterator[Float[Tensor, ""]]:
        assert isinstance(state, _Network), "a state is only used by the objective that made it"
        if iteration % self.inner_iterations == 0:
            state.renew(iteration // self.inner_iterations)
        network = state.learner.network
        shape = real.data.image_shape
        device = real.data.labels.device
        for label in range(real.data.num_classes):
            shared = draw_transform(self.augmentation, 1, shape, rng.generator(draw, "shared", label, device=device))
            updates = iteration % self.inner_iterations
            images = state.sampler.draw(real, label, self.real_batch, iteration, network=network, updates=updates)
            target = [g.detach() for g in class_gradients(network, images, label, shared)]
            images = synthetic.draw(label, self.synthetic_batch, iteration)
            yield distance(class_gradients(network, images, label, shared, differentiable=True), target, self.metric)
        state.learn(iteration)


def class_gradients(
    network: Classifier,
    images: Float[Tensor, "b c h w"],
    label: int,
    transform: Transform,
    *,
    differentiable: bool = False,
) -> Sequence[Tensor]:
    """Return the gradient of one class's mean loss with respect to every convolution weight.

    Args:
        network: a classifier with convolutions.
        images: normalised images of one class.
        label: that class.
        transform: one draw, applied to every image alike.
        differentiable: keep the graph, so that the gradient can be differentiated with respect to the images.

    Raises:
        ConfigError: the network has no convolution.
    """
    # Biases, norm scales and the classifier do not take part (IDC).
    weights = [parameter for parameter in network.parameters() if parameter.dim() == 4]
    if not weights:
        raise ConfigError("network: gradient matching compares convolution weights, got a network without any")
    labels = torch.full((len(images),), label, device=images.device)
    loss = F.cross_entropy(network(transform.repeat(len(images))(images)), labels)
    return torch.autograd.grad(loss, weights, create_graph=differentiable)


def distance(synthetic: Sequence[Tensor], real: Sequence[Tensor], metric: str) -> Float[Tensor, ""]:
    """Return the summed distance over pairs of weight gradients of shape (out, in, height, width)."""
    pairs = list(zip(synthetic, real, strict=True))
    if metric == "mse":
        return torch.stack([(s - r).square().sum() for s, r in pairs]).sum()
    if metric == "l1":
        return torch.stack([(s - r).abs().sum() for s, r in pairs]).sum()
    # 1e-6 as in IDC, where a channel can have no gradient at all.
    return torch.stack(
        [(1 - F.cosine_similarity(s.flatten(1), r.flatten(1), dim=1, eps=1e-6)).sum() for s, r in pairs]
    ).sum()


@final
class _Network:
    """The matching network: redrawn, then trained on all real images between pixel updates."""

    def __init__(self, *, real: LabelledImages, trainer: Trainer, stream: int, steps: int, sampler: Sampler) -> None:
        self.sampler = sampler
        self._real = real
        self._trainer = trainer
        self._stream = stream
        self._steps = steps
        self.learner: Learner = trainer.start(real, rng.derive(stream, "network", 0))

    def renew(self, outer: int) -> None:
        self.learner = self._trainer.start(self._real, rng.derive(self._stream, "network", outer))

    def learn(self, iteration: int) -> None:
        # The run through the real images goes on across networks, as IDC's persistent loader does.
        for step in range(iteration * self._steps, (iteration + 1) * self._steps):
            self.learner.step(
                self._real, step, rng.derive(self._stream, "learning"), self._trainer.recipe.learning_rate
            )

    def tensors(self) -> dict[str, Tensor]:
        return self.learner.tensors() | self.sampler.tensors()

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.learner.restore(tensors)
        self.sampler.restore(tensors, self._real.labels.device)
