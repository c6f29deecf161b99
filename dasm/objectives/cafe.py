"""Feature alignment (CAFE, Wang et al., CVPR 2022, arXiv 2203.01531).

Layer by layer, the mean feature of every class of the synthetic set should lie where that of the real set lies, and the
synthetic class means of the last layer should tell real images apart. The network learns from the synthetic set until
its accuracy on real images has moved; it is drawn anew once that accuracy has settled over the last pixel updates.
CAFE's recipe for it: batch_size 256, learning_rate 0.01, momentum 0, weight_decay 0, no augmentation, cutmix 0.
Differences from CAFE's released code:

1. Both loops have an end, `most_updates` and `most_epochs`: CAFE's never return while the accuracy does not do them the
   favour of moving or of standing still.
2. The accuracies that govern them are accuracies; CAFE never resets their accumulator.
3. Any number of classes and any network, by the layers of `dasm.objective_parts.features`; CAFE is written for ten
   classes of 32 x 32 pixels and knows the layers of its networks by number. Its ConvNet has the same layers here.
4. The classification loss of the real batch is left out of the value, as it does not depend on the pixels.
5. The pixel rate is constant; CAFE halves it at 60, 80 and 90 % of its networks, whose number is not known before here.
6. Pixels are clamped to [0, 1] after every update (CAFE never clamps), because segments are frozen as 8-bit images.
7. A segment starts from real images; CAFE starts from noise.
8. Real batches run through the window epoch by epoch instead of being drawn anew every time.
9. Channels are divided by their deviation over all pixels; CAFE divides those of CIFAR by smaller numbers (0.20),
   so that at the same learning rate its pixels move 0.6 to 0.7 times as far as here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dasm import rng
from dasm.augment import Operation
from dasm.errors import at_least, require
from dasm.networks import Classifier
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.objective_parts.features import class_means, groups, layer_features, normalises_batches, siamese_pairs
from dasm.objective_parts.shared import SharedTransforms
from dasm.objective_parts.student import Student
from dasm.objectives import Objective, State, Surroundings
from dasm.pixels import PixelRule
from dasm.train import Trainer
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class CAFE(Objective):
    """Squared distances between class means of features, and discrimination of real images by synthetic class means.

    Attributes:
        layer_weights: of the hidden layers, the shallowest first, at least one; deeper ones take the last weight.
        embedding_weight: of what the classifier reads, >= 0. CAFE's code counts it twice, once flat and once not.
        discrimination: weight, >= 0, of the cross-entropy of real images, summed over them, where the logits are the
            inner products of their embeddings with the synthetic class means.
        real_batch: real images per class and iteration, >= 1 (256 in CAFE); a smaller window is taken whole.
        synthetic_batch: decoded synthetic images per class and iteration at most, >= 1; None takes all of them (CAFE).
        augmentation: shared by both sides, one draw per class and iteration; that of DSA in CAFE+DSA.
        test_batch: real images per class that every accuracy is measured on, >= 1.
        checks: accuracies that are looked back on, >= 2, in both loops.
        settled: a network is given up when its accuracies over pixel updates differ by less, >= 0 (lambda_1 in CAFE).
        moved: it stops learning when its accuracies over epochs differ by more, >= 0 (lambda_2).
        most_updates: pixel updates per network at most, >= 1.
        most_epochs: epochs between two pixel updates at most, >= 1.
    """

    layer_weights: tuple[float, ...] = (0.1, 0.1, 1.0)
    embedding_weight: float = 2.0
    discrimination: float = 0.01
    real_batch: int = 256
    synthetic_batch: int | None = None
    augmentation: tuple[Operation, ...] = ()
    test_batch: int = 128
    checks: int = 10
    settled: float = 0.04
    moved: float = 0.03
    most_updates: int = 100
    most_epochs: int = 100

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        require(len(self.layer_weights) >= 1, "layer_weights must hold at least one weight", self.layer_weights)
        at_least(self, 0, "embedding_weight", "discrimination", "settled", "moved")
        at_least(self, 1, "real_batch", "test_batch", "most_updates", "most_epochs", "synthetic_batch")
        at_least(self, 2, "checks")

    @property
    def rule(self) -> PixelRule:
        return PixelRule(learning_rate=0.1, momentum=0.5, normalised=True)

    def prepare(self, real: LabelledImages, trainer: Trainer, stream: int, surroundings: Surroundings) -> State:
        student = Student(real=real, prefix=surroundings.prefix, trainer=trainer, stream=rng.derive(stream, "student"))
        return _Watched(student, self, SharedTransforms(self.augmentation, real, stream))

    def distances(
        self, state: State, real: RealBatches, synthetic: SyntheticBatches, iteration: int, draw: int
    ) -> Iterator[Float[Tensor, ""]]:
        assert isinstance(state, _Watched), "a state is only used by the objective that made it"
        if iteration:
            state.advance(real, synthetic)
        pairs = siamese_pairs(
            real,
            synthetic,
            sizes=(self.real_batch, self.synthetic_batch),
            shared=state.shared,
            iteration=iteration,
            stream=draw,
        )
        theirs, ours = zip(*pairs, strict=True)
        network, sizes = state.student.network, [len(images) for images in theirs]
        targets, embedding = _targets(network, theirs)
        layers, own = layer_features(network, torch.cat(ours))
        means = [class_means(features, [len(images) for images in ours]) for features in (*layers, own)]
        yield self._alignment(means, targets) + self.discrimination * _discrimination(embedding, means[-1], sizes)

    def _alignment(self, means: Sequence[Tensor], targets: Sequence[Tensor]) -> Float[Tensor, ""]:
        deep = self.layer_weights[-1:] * len(means)
        weights = [*(self.layer_weights + deep)[: len(means) - 1], self.embedding_weight]
        parts = zip(weights, means, targets, strict=True)
        return torch.stack([weight * (mean - target).square().sum() for weight, mean, target in parts]).sum()


@torch.no_grad()
def _targets(network: Classifier, real: Sequence[Tensor]) -> tuple[list[Float[Tensor, "k d"]], Float[Tensor, "b e"]]:
    """Return the class means of every layer and of the embedding, and the embedding of every image."""
    found: list[list[Tensor]] = []
    embeddings: list[Tensor] = []
    for (images,) in groups(((batch,) for batch in real), whole=normalises_batches(network)):
        layers, embedding = layer_features(network, torch.cat(images))
        found.append([class_means(features, [len(batch) for batch in images]) for features in (*layers, embedding)])
        embeddings.append(embedding)
    return [torch.cat(means) for means in zip(*found, strict=True)], torch.cat(embeddings)


def _discrimination(
    embedding: Float[Tensor, "b d"], centres: Float[Tensor, "k d"], sizes: Sequence[int]
) -> Float[Tensor, ""]:
    labels = [torch.full((size,), label, device=embedding.device) for label, size in enumerate(sizes)]
    return F.cross_entropy(embedding @ centres.T, torch.cat(labels), reduction="sum")


@final
class _Watched:
    """A student that learns, and is given up, by its accuracy on real images."""

    def __init__(self, student: Student, options: CAFE, shared: SharedTransforms) -> None:
        self.student = student
        self.shared = shared
        self._options = options
        self._seen: list[float] = []
        self._tests = 0

    def advance(self, real: RealBatches, synthetic: SyntheticBatches) -> None:
        options = self._options
        self._seen.append(self._accuracy(real))
        if self._range(self._seen) < options.settled or len(self._seen) >= options.most_updates:
            self.student.renew(self.student.number + 1)
            self._seen = []
            return
        seen: list[float] = []
        while len(seen) < options.most_epochs and not options.moved < self._range(seen) < float("inf"):
            self.student.learn(synthetic, 1)
            seen.append(self._accuracy(real))

    def _range(self, seen: Sequence[float]) -> float:
        last = seen[-self._options.checks :]
        return max(last) - min(last) if len(last) == self._options.checks else float("inf")

    @torch.no_grad()
    def _accuracy(self, real: RealBatches) -> float:
        """Return the mean over the classes of the share of a test batch that the network classifies correctly."""
        images = [real.draw(label, self._options.test_batch, self._tests) for label in range(real.data.num_classes)]
        self._tests += 1
        network = self.student.network
        network.eval()  # or batch normalisation would learn from a test
        answers = [
            answer
            for (some,) in groups((batch,) for batch in images)
            for answer in network(torch.cat(some)).argmax(1).split([len(batch) for batch in some])
        ]
        network.train()
        shares = torch.stack([(found == label).double().mean() for label, found in enumerate(answers)])
        return sum(shares.tolist()) / len(images)

    def tensors(self) -> dict[str, Tensor]:
        seen = torch.tensor(self._seen, dtype=torch.float64)
        return self.student.tensors() | {"seen": seen, "tests": torch.tensor(self._tests)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.student.restore(tensors)
        self._seen = [float(accuracy) for accuracy in tensors["seen"]]
        self._tests = int(tensors["tests"])
