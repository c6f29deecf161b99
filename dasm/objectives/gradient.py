"""Gradient matching of decoded images (IDC, Kim et al., ICML 2022, arXiv 2205.14959).

For every class, the gradients of the classification loss of a real and of a decoded synthetic batch, under one shared
augmentation, should agree on the convolution weights. The network is drawn afresh every outer iteration and learns from
all real images between pixel updates. Differences from IDC's released code:

1. Only the drawn synthetic images are decoded (the same distribution).
2. All classes of one iteration see the same network and are differentiated before the pixels move; the momentum that
   moves a class during the others' turns is applied in closed form by `dasm.pixels`, which gives the same pixels.
3. Real images keep their own streams per class and iteration instead of one global generator.
4. A network may start from one that learnt the frozen segments, as in SeqMatch (Du et al., NeurIPS 2023, arXiv
   2311.01570); it learns with the matching recipe from all segments at once, not stage by stage with the benchmark's.
5. Where the network allows it, classes share their passes and the pixels' gradient comes from a tangent pass instead of
   a double backward (`dasm.objective_parts.classwise`): the same numbers up to the order of sums.

Prefixes of the set may be matched too (MDC, ICLR 2024, arXiv 2403.06075): `dasm.objective_parts.subsets` says how.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm import rng
from dasm.augment import Operation
from dasm.chains.chain import Chain
from dasm.errors import ConfigError, at_least, require, within
from dasm.machine import ranks
from dasm.networks import Classifier
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.objective_parts.classwise import augmented, chain_distance, chain_gradients, class_gradients, neighbours
from dasm.objective_parts.compared import Compared
from dasm.objective_parts.redrawn import PrefixStart, Redrawn
from dasm.objective_parts.sampler import Sampler
from dasm.objective_parts.shared import SharedTransforms
from dasm.objective_parts.subsets import Subsets
from dasm.objectives import Objective, State, Surroundings
from dasm.pixels import PixelRule
from dasm.train import Trainer
from dasm.types import LabelledImages


@final
@dataclass(frozen=True, kw_only=True)
class Gradient(Objective):
    """Distance between class-wise gradients of real and synthetic batches.

    Attributes:
        metric: `mse` is the sum of squares, `l1` the sum of absolute values, `cosine` the sum over output channels of
            1 - cosine. IDC: mse for CIFAR and SVHN, l1 for MNIST and ImageNet. No division by any count.
        norm_penalty: factor of the length of each class's synthetic gradient, in [0, 1e9], added to the distance and in
            its unit: it draws images to what networks find easy (lambda of SDC, arXiv 2408.12483); 0 as in IDC.
        real_batch: real images per class and iteration, >= 1 (64 in IDC); a smaller window is taken whole.
        synthetic_batch: decoded synthetic images per class and iteration at most, >= 1 (128 in IDC).
        frozen_batch: with `match_prefix`, decoded images of the frozen segments per class and iteration at most, >= 1,
            drawn beside `synthetic_batch` images of the new one; both sides' gradients count by the numbers of images
            that they stand for. None draws `synthetic_batch` images from the union, most of them frozen in the end.
        subset_period: outer iterations between two choices of the prefix of the segment that is matched too, >= 1 (100
            in MDC); not with a `frozen_batch`. None, as in IDC, matches none.
        inner_iterations: pixel updates per network, >= 1 (100 in IDC).
        network_images: real images that the network learns from after every pixel update, >= 0 (2000 for CIFAR, 500
            elsewhere in IDC), rounded up to whole batches.
        early_steps: optimiser steps on all real images before a network's first pixel update, >= 0: its age (`early` in
            IDC, counted in epochs: 10 for ImageNet-10, 0 elsewhere).
        prefix_steps: optimiser steps on the decoded segments so far, before a network's first pixel update, >= 0 (A12).
            With 0, and for the first segment always, networks start fresh, as in IDC.
        prefix_period: networks in a row that start as copies of one trained so, >= 1 (50 in SeqMatch).
        augmentation: shared by both sides, one draw per class and iteration.
        sampler: `random` batches of the window, or `representative` ones (DREAM, arXiv 2302.14416).
        refresh: pixel updates between two choices of representatives, >= 1 (10 in DREAM).
        reference_side: pixels a side that the pixels' learning rate is meant for, >= 1; it grows with the area. In IDC
            32, but 28 for MNIST, 64 for speech and 224 for ImageNet: set it where you take over a rate from there.
        classes: `loop` differentiates class after class by autograd, whatever the network; `batched` takes the written
            derivatives of `dasm.chains.chain`, all classes that fit the cache at once; `auto` is `batched` wherever the
            network is such a chain, which was faster at every shape measured (benchmarks/README.md).
    """

    class_by_class: ClassVar[bool] = True
    learns_from_real: ClassVar[bool] = True

    metric: Literal["mse", "l1", "cosine"] = "mse"
    norm_penalty: float = 0.0
    real_batch: int = 64
    synthetic_batch: int = 128
    frozen_batch: int | None = None
    subset_period: int | None = None
    inner_iterations: int = 100
    network_images: int = 2000
    early_steps: int = 0
    prefix_steps: int = 0
    prefix_period: int = 50
    augmentation: tuple[Operation, ...] = ("color", "crop", "cutout")
    sampler: Literal["random", "representative"] = "random"
    refresh: int = 10
    reference_side: int = 32
    classes: Literal["auto", "loop", "batched"] = "auto"

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        at_least(self, 1, "real_batch", "synthetic_batch", "frozen_batch", "inner_iterations", "prefix_period")
        at_least(self, 1, "subset_period", "refresh", "reference_side")
        at_least(self, 0, "network_images", "early_steps", "prefix_steps")
        within(self, "[0, 1e9]", "norm_penalty")
        one = self.subset_period is None or self.frozen_batch is None
        require(one, "subset_period must be None with a frozen_batch", self.subset_period)

    @property
    def period(self) -> int:
        return self.inner_iterations

    @property
    def rule(self) -> PixelRule:
        return PixelRule(learning_rate=5e-3, momentum=0.5, by_budget=True, reference_side=self.reference_side)

    @property
    def splits(self) -> bool:
        # Representatives are remembered by the process that chose them, and a checkpoint is the first one's; a prefix
        # is chosen by the distances of all classes.
        return self.sampler == "random" and self.subset_period is None

    @property
    def asks_prefix(self) -> bool:
        return self.prefix_steps > 0

    @property
    def parts_union(self) -> bool:
        return self.frozen_batch is not None

    def without_prefix(self) -> "Gradient":
        later = {name: getattr(Gradient, name) for name in ("prefix_steps", "prefix_period", "frozen_batch")}
        return replace(self, **later)

    def prepare(self, real: LabelledImages, trainer: Trainer, stream: int, surroundings: Surroundings) -> State:
        steps = -(-self.network_images // min(trainer.recipe.batch_size, len(real)))
        sampler = Sampler(self.sampler, self.refresh, rng.derive(stream, "sampler"))
        shared = SharedTransforms(self.augmentation, real, stream)
        start = None
        if self.prefix_steps and surroundings.prefix is not None:
            start = PrefixStart(surroundings.prefix, trainer, self.prefix_steps, self.prefix_period, stream)
        subsets = None if self.subset_period is None else Subsets(self.subset_period, self.inner_iterations)
        return Redrawn(
            real=real,
            trainer=trainer,
            stream=stream,
            steps=steps,
            early_steps=self.early_steps,
            sampler=sampler,
            shared=shared,
            learnt=start,
            subsets=subsets,
        )

    def distances(
        self, state: State, real: RealBatches, synthetic: SyntheticBatches, iteration: int, draw: int
    ) -> Iterator[Float[Tensor, ""]]:
        assert isinstance(state, Redrawn), "a state is only used by the objective that made it"
        if iteration % self.inner_iterations == 0:
            state.renew(iteration // self.inner_iterations)
        network, data = state.learner.network, real.data
        shared, mine = state.shared.of_all(iteration, draw), ranks.mine(data.num_classes)
        batches = (self._batches(state, real, synthetic, iteration, label) for label in mine)
        chain = self._chain(network)
        if chain is None:
            for label, (theirs, *ours) in zip(mine, batches, strict=True):
                seen = partial(class_gradients, network, label=label, transform=shared.at(slice(label, label + 1)))
                target = seen(theirs)
                for images, compared in self._matched(ours, seen, synthetic.share):
                    yield compared(seen(images, differentiable=True), target)
        else:
            for classes, group in neighbours(batches, mine.start, chain.part(data.image_shape)):
                theirs, *ours = (augmented(side, shared.at(classes)) for side in zip(*group, strict=True))
                labels = torch.arange(classes.start, classes.stop, device=data.labels.device)
                target = chain_gradients(chain, theirs, labels)
                told = partial(chain_gradients, chain, labels=labels)
                for images, compared in self._matched(ours, told, synthetic.share, len(labels)):
                    yield chain_distance(chain, images, labels, target, compared)
        state.learn(iteration)

    def _batches(
        self, state: Redrawn, real: RealBatches, synthetic: SyntheticBatches, iteration: int, label: int
    ) -> tuple[Tensor, ...]:
        # Of one class: real images, those that are matched with them, and what `_matched` does with a third batch.
        network, updates, subsets = state.learner.network, iteration % self.inner_iterations, state.subsets
        theirs = state.sampler.draw(real, label, self.real_batch, iteration, network=network, updates=updates)
        if self.frozen_batch is not None and synthetic.frozen:
            new = synthetic.draw(label, self.synthetic_batch, iteration, "new")
            return theirs, new, synthetic.draw(label, self.frozen_batch, iteration, "frozen")
        if subsets is None:
            return theirs, synthetic.draw(label, self.synthetic_batch, iteration)
        subsets.measure(network, theirs, synthetic, real.data, label, iteration)
        drawn = partial(synthetic.draw, label, self.synthetic_batch, iteration, held=subsets.held)
        return theirs, drawn(), *([drawn(first=subsets.size)] if subsets.size else [])

    def _matched(
        self, ours: Sequence[Tensor], seen: Callable[[Tensor], Sequence[Tensor]], share: float, classes: int = 1
    ) -> list[tuple[Tensor, Compared]]:
        # What gets a gradient, and what it is compared by: all images, completed by frozen ones that are drawn apart,
        # and the prefix in force.
        first, *more = ours
        whole = partial(Compared, metric=self.metric, classes=classes, norm_penalty=self.norm_penalty)
        if self.frozen_batch is not None:
            return [(first, whole(share=share, frozen=seen(more[0]) if more else None))]
        return [(first, whole()), *((prefix, Compared(metric=self.metric, classes=classes)) for prefix in more)]

    def _chain(self, network: Classifier) -> Chain | None:
        chain = None if self.classes == "loop" else network.chain()
        if chain is None and self.classes == "batched":
            raise ConfigError("objective.classes: batched needs a network that is a plain chain of layers (try auto)")
        return chain
