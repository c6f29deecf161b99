"""What DC (arXiv 2006.05929) and DSA (arXiv 2102.08259) share: all but their options.

A network is drawn, the pixels move once, the network learns from the synthetic set for `inner` epochs, the pixels move
again, and so on for `outer` pixel updates; then the next network is drawn.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor

from dasm import rng
from dasm.augment import Operation, Transform
from dasm.errors import ConfigError
from dasm.formation import decoded_count
from dasm.machine import ranks
from dasm.networks import Classifier
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.objective_parts.classwise import loss_gradients, row_distance
from dasm.objective_parts.sampler import Sampler
from dasm.objective_parts.shared import SharedTransforms
from dasm.objective_parts.student import Student
from dasm.pixels import PixelRule
from dasm.train import Trainer
from dasm.types import LabelledImages

#: How their pixels move.
RULE = PixelRule(learning_rate=0.1, momentum=0.5, normalised=True)

# Training images per class up to which (outer, inner) were published.
_LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}


def loops(images: int, outer: int | None, inner: int | None) -> tuple[int, int]:
    """Return pixel updates per network, and epochs of the network between two of them.

    Args:
        images: training images per class of the whole synthetic set; between the published sizes the next larger
            one counts.
        outer: pixel updates per network; None takes the published number.
        inner: epochs; None takes the published number.

    Raises:
        ConfigError: more images than were published, and not both numbers given.
    """
    if outer is not None and inner is not None:
        return outer, inner
    published = next((pair for size, pair in _LOOPS.items() if images <= size), None)
    if published is None:
        raise ConfigError(
            f"objective: outer and inner are published for up to {max(_LOOPS)} training images per class, got {images}"
            " (give both)"
        )
    return published[0] if outer is None else outer, published[1] if inner is None else inner


def divisible(sampler: str) -> bool:
    """Return whether several processes may each take some of the classes with real batches of this kind."""
    # Representatives are remembered by the process that chose them, and a checkpoint is the first one's.
    return sampler == "random"


@final
class Condensing:
    """The state of DC and DSA: a student, and the real images that it is shown."""

    def __init__(
        self,
        real: LabelledImages,
        trainer: Trainer,
        stream: int,
        prefix: LabelledImages | None,
        *,
        loops: tuple[int | None, int | None],
        sizes: tuple[int, int | None],
        sampler: Sampler,
        augmentation: tuple[Operation, ...] = (),
    ) -> None:
        """Draw the first network.

        Args:
            real: all real images.
            trainer: of the networks.
            stream: of everything random in them.
            prefix: decoded training images of the frozen segments.
            loops: pixel updates per network and epochs between two of them; None takes the published number.
            sizes: real and synthetic images per class and iteration; None takes all.
            sampler: of the real images.
            augmentation: shared by both sides, one draw per class.
        """
        self.shared = SharedTransforms(augmentation, real, stream)
        self.sampler = sampler
        self.student = Student(real=real, prefix=prefix, trainer=trainer, stream=rng.derive(stream, "student"))
        self._loops = loops
        self._sizes = sizes
        self._frozen = 0 if prefix is None else int(prefix.labels.bincount().max())
        self._device = real.labels.device

    def advance(self, synthetic: SyntheticBatches, iteration: int) -> int:
        """Get ready for a pixel update and return how many the network has seen."""
        images = self._frozen + decoded_count(max(map(len, synthetic.pixels)), synthetic.factor)
        outer, inner = loops(images, *self._loops)
        number, updates = divmod(iteration, outer)
        if updates:
            self.student.learn(synthetic, inner)
        else:
            self.student.renew(number)
        return updates

    def distances(
        self, real: RealBatches, synthetic: SyntheticBatches, iteration: int, stream: int
    ) -> Iterator[Float[Tensor, ""]]:
        """Yield the distance between the gradients of a real and a synthetic batch of every class of this process.

        Args:
            real: batches of the window.
            synthetic: batches of the segment.
            iteration: number of the pixel update, from 0.
            stream: of this iteration.
        """
        updates = self.advance(synthetic, iteration)
        network = self.student.network
        for label in ranks.mine(real.data.num_classes):
            shared = self.shared.of_class(label, iteration, stream)
            images = self.sampler.draw(real, label, self._sizes[0], iteration, network=network, updates=updates)
            target = weight_gradients(network, images, label, shared)
            images = synthetic.draw(label, self._sizes[1], iteration)
            yield row_distance(weight_gradients(network, images, label, shared, differentiable=True), target)

    def tensors(self) -> dict[str, Tensor]:
        """Return the student and the chosen real images by name, for a checkpoint."""
        return self.student.tensors() | self.sampler.tensors()

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` returned."""
        self.student.restore(tensors)
        self.sampler.restore(tensors, self._device)


def weight_gradients(
    network: Classifier,
    images: Float[Tensor, "b c h w"],
    label: int,
    transform: Transform,
    *,
    differentiable: bool = False,
) -> Sequence[Tensor]:
    """Return the gradient of one class's mean loss with respect to every weight, the classifier's included.

    Args:
        network: any classifier; its vectors (biases, norm scales) do not take part.
        images: normalised images of one class.
        label: that class.
        transform: one draw, applied to every image alike.
        differentiable: keep the graph, so that the gradient can be differentiated with respect to the images.
    """
    weights = [parameter for parameter in network.parameters() if parameter.dim() > 1]
    return loss_gradients(network, weights, images, label, transform, differentiable=differentiable)
