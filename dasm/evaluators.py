"""The networks that say what is still hard: trained on all segments so far, or at the start briefly on real images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from dasm import rng
from dasm.errors import at_least, require, within
from dasm.networks import Classifier
from dasm.steps.together import Training, train_all
from dasm.train import Trainer
from dasm.types import LabelledImages, join, prefixes


@final
@dataclass(frozen=True, kw_only=True)
class Evaluators:
    """J networks, trained at every state.

    Attributes:
        trainer: architecture and recipe.
        networks: J, in [1, 1e6]; scores are averaged over them. One network's loss is mostly noise, 3 are our default
            (A3).
        steps: optimiser steps on the segments so far, >= `snapshots`.
        teacher_steps: optimiser steps on the real images at state 0, >= `snapshots`; few, so that hard images are still
            hard.
        snapshots: copies kept along each training, >= 1, the trained network last; scores that look back need several.
        start: `fresh` trains new networks at every state; `warm` goes on, from state 2, with the trained networks of
            the state before (SeqMatch, arXiv 2311.01570). State 1 is always fresh: what was learnt from real images
            would tell the evaluators what the segments do not hold.
        order: `shuffled` draws batches from all segments at once; `stagewise` trains one network on the first segment,
            then on the first two, and so on, with an equal share of the steps each (PDD, arXiv 2310.06982).
        images: what of the segments they learn from (A15): `decoded` training images, as everybody who uses the set; or
            the `stored` images as they are, tiles and all, which are fewer by the factor squared.
        training: `loop` trains one network after another, `together` all side by side; `auto` is `together` on a GPU
            for networks whose layers allow it (`dasm.steps.together`). The results are the same up to order of sums.
    """

    trainer: Trainer
    networks: int
    steps: int
    teacher_steps: int
    snapshots: int = 1
    start: Literal["fresh", "warm"] = "fresh"
    order: Literal["shuffled", "stagewise"] = "shuffled"
    images: Literal["decoded", "stored"] = "decoded"
    training: Training = "auto"

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        within(self, "[1, 1e6]", "networks")
        at_least(self, 1, "snapshots")
        require(self.steps >= self.snapshots, "steps must be >= snapshots", self.steps)
        require(self.teacher_steps >= self.snapshots, "teacher_steps must be >= snapshots", self.teacher_steps)

    def train(
        self, parts: Sequence[LabelledImages], state: int, seed: int, previous: Sequence[Classifier] = ()
    ) -> list[list[Classifier]]:
        """Train the evaluators of one state.

        Args:
            parts: the images of each segment so far, as `images` wants them; at state 0 the real images alone.
            state: number of segments so far.
            seed: root seed; every evaluator of every state has a stream of its own.
            previous: the trained networks of the state before. A warm start that is given none trains them anew, state
                by state, and ends with the same networks.

        Returns:
            For each network its snapshots, the trained one last.
        """
        warm = self.start == "warm" and state >= 2
        if warm and not previous:
            previous = trained(self.train(parts[:-1], state - 1, seed))
        *before, data = prefixes(parts) if self.order == "stagewise" else [join(parts)]
        steps = self.teacher_steps if state == 0 else self.steps
        streams = [rng.derive(seed, "evaluator", state, number) for number in range(self.networks)]
        return train_all(
            self.trainer,
            data,
            steps,
            streams,
            self.snapshots,
            before=before,
            starts=previous if warm else None,
            training=self.training,
        )


def trained(networks: Sequence[Sequence[Classifier]]) -> list[Classifier]:
    """Return the last snapshot of every network."""
    return [snapshots[-1] for snapshots in networks]
