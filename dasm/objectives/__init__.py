"""Objectives: what a segment's pixels minimise, one file each."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, final, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.pixels import PixelRule
from dasm.train import Trainer
from dasm.types import LabelledImages


@runtime_checkable
class State(Protocol):
    """What an objective carries from one iteration to the next, and can save."""

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that the next iteration depends on, by name."""
        ...

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` returned."""
        ...


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Surroundings:
    """What an objective may ask for besides the real set.

    Attributes:
        prefix: decoded training images of the frozen segments, or None before there are any. Only objectives with
            `asks_prefix` are given any.
        experts: weights of expert networks along their training, one row per epoch, the first one before it; parameters
            flattened in the order of `parameters()`. Only objectives with `needs_experts` are given any.
    """

    prefix: LabelledImages | None = None
    experts: Sequence[Float[Tensor, "e p"]] = ()


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Extras:
    """What an objective leaves with a finished segment besides its images.

    Attributes:
        soft_labels: a distribution over the classes for every decoded training image, on the CPU; None for hard labels.
        learned_rate: the student's step size, learned together with the images; None if none was.
    """

    soft_labels: Float[Tensor, "n k"] | None = None
    learned_rate: float | None = None


class Objective(ABC):
    """A distance between a real and a synthetic set, seen through networks."""

    #: Whether the source updates the pixels class by class with one momentum buffer, so that a class keeps moving
    #: during the other classes' turns (see `dasm.pixels`).
    class_by_class: ClassVar[bool] = False

    #: Whether the frozen segments can be matched together with the new one (A11).
    joins_prefix: ClassVar[bool] = True

    #: Whether networks that it trains learn from real images: from all of them, so that those outside the window leave
    #: a trace too, unless `matching.learns_from` says otherwise.
    learns_from_real: ClassVar[bool] = False

    #: Options with which a few iterations take seconds, by name, for the tests that every objective has to pass. They
    #: lower numbers of steps, epochs, networks, iterations, updates and images of a batch by themselves.
    trial: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    @property
    def reads_window(self) -> bool:
        """Whether what is minimised depends on the window; if not, it acts by the images that segments start from."""
        return True

    @property
    def asks_prefix(self) -> bool:
        """Whether `prepare` looks at the frozen segments; if not, they are not decoded for it."""
        return True

    @property
    def parts_union(self) -> bool:
        """Whether options say how the frozen segments are matched with the new one, which they then have to be."""
        return False

    @property
    @abstractmethod
    def rule(self) -> PixelRule:
        """How the source moves the pixels."""

    @property
    def period(self) -> int:
        """Iterations between two outer iterations: the pixels are clamped to [0, 1] at the start of each."""
        return 1

    @property
    def epochs_needed(self) -> int:
        """Epochs that an expert has to be followed for at least; 0 where none is."""
        return 0

    @property
    def needs_experts(self) -> bool:
        """Whether expert trajectories have to be there before the first segment is distilled."""
        return self.epochs_needed > 0

    @property
    def splits(self) -> bool:
        """Whether several processes may each take some of the classes (`dasm.machine.ranks`).

        If so, `distances` yields those of `ranks.mine` alone, and all else that it does is the same in every process.
        """
        return False

    def check(self, images: int) -> None:  # noqa: B027 - most go by any number
        """Refuse sets of a size that the objective cannot distil as it is set, before anything is trained.

        Args:
            images: decoded training images per class of the whole set, frozen segments included.

        Raises:
            ConfigError: says what to set.
        """

    def without_prefix(self) -> "Objective":
        """Return the same objective, with options that are for later segments alone left as they are by default."""
        return self

    @abstractmethod
    def prepare(self, real: LabelledImages, trainer: Trainer, stream: int, surroundings: Surroundings) -> State:
        """Do what does not depend on the synthetic images.

        Args:
            real: what networks learn from: all real training images whatever the window, unless `matching.learns_from`
                says otherwise.
            trainer: of the networks through which the sets are seen.
            stream: of everything random in the objective.
            surroundings: frozen segments and experts.
        """

    @abstractmethod
    def distances(
        self, state: State, real: RealBatches, synthetic: SyntheticBatches, iteration: int, draw: int
    ) -> Iterator[Float[Tensor, ""]]:
        """Yield scalars whose sum is the objective of one pixel update.

        They come one by one so that the graph of each can be freed before the next is built. After the last one, the
        state moves on to the next iteration.

        Args:
            state: from `prepare`.
            real: batches of the window.
            synthetic: batches of the segment, differentiable in its pixels.
            iteration: number of the pixel update, from 0.
            draw: stream of this iteration.
        """

    def finish(self, state: State, images: LabelledImages) -> Extras:  # noqa: ARG002
        """Say what goes with a finished segment.

        Args:
            state: after the last iteration.
            images: the decoded training images of the segment, frozen.

        Returns:
            Nothing but hard labels, unless the objective says otherwise.
        """
        return Extras()
