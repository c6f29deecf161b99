"""THE METHOD: score the real set, keep a window of it, distil one segment, train on all segments so far, score again.

The pipeline runs the same four calls as separate cached stages; `distil` is the whole of it in one place.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dasm.difficulty import check_network, check_snapshots, measure
from dasm.errors import at_least, require
from dasm.evaluators import Evaluators, trained
from dasm.experts import Experts
from dasm.formation import decoded_count
from dasm.matching import Matching
from dasm.networks import Classifier
from dasm.plugins import name_of
from dasm.segments import SegmentPlan, decoded, distil_segment, shown_parts
from dasm.selection import Selection
from dasm.types import LabelledImages, Segment


@final
@dataclass(frozen=True, kw_only=True)
class Sequential:
    """Difficulty-aligned sequential matching; without a selection, sequential matching; with one segment, joint.

    Attributes:
        matching: how a segment is distilled.
        evaluators: who says what is hard.
        selection: what the next segment learns from; None keeps every real image and scores nothing.
        planned_ipc: images per class of the whole set as planned, >= 1. It sets the window's pace and the pixels' rate,
            so it belongs to the identity of every segment; a set can be extended without it.
        experts: whom a trajectory objective follows; trained anew for every segment and held in memory. None for
            objectives that need none.
    """

    matching: Matching
    evaluators: Evaluators
    selection: Selection | None
    planned_ipc: int
    experts: Experts | None = None

    def __post_init__(self) -> None:
        """Refuse values out of range, and parts that do not fit each other."""
        at_least(self, 1, "planned_ipc")
        if self.selection is not None:
            check_snapshots(self.selection.score, self.evaluators.snapshots)
            check_network(self.selection.score, self.evaluators.trainer.network)
        objective, network = self.matching.objective, self.matching.trainer.network
        given = self.experts is not None or not objective.needs_experts
        require(given, f"experts must be given for {name_of(objective)}", self.experts)
        if self.experts is not None:
            require(objective.needs_experts, "experts must be left out for objectives that follow none", self.experts)
            self.experts.check(objective.epochs_needed, network)

    def distil(
        self,
        real: LabelledImages,
        plans: Sequence[SegmentPlan],
        seed: int,
        prefix: Sequence[Segment] = (),
        track: Callable[[range], Iterable[int]] = iter,
    ) -> Iterator[Segment]:
        """Yield the segments that follow `prefix`, from easy to hard, each frozen before the next is begun.

        Args:
            real: the real training set.
            plans: one per segment, those of `prefix` included.
            seed: root seed; any integer.
            prefix: finished segments to go on from; each has streams of its own, so the bytes are those of one run.
            track: wraps the iterations of each segment, to show progress.

        Raises:
            ConfigError: the plans are not those of `prefix` and more, or are for more images than the objective can
                distil; whatever `distil_segment` refuses.
        """
        self._check_plans(plans, prefix)
        teachers = self.evaluators.train([real], 0, seed) if self.selection is not None else []
        first = measure(real, teachers, self.selection.score) if self.selection is not None and prefix else None
        networks: list[list[Classifier]] = []
        for state, plan in list(enumerate(plans))[len(prefix) :]:
            weights, rank = torch.ones(len(real)), None
            if self.selection is not None:
                if prefix:
                    parts = shown_parts(prefix, real, self.evaluators.images)
                    networks = self.evaluators.train(parts, state, seed, trained(networks))
                reference = trained(teachers) if prefix else ()
                difficulty = measure(real, networks or teachers, self.selection.score, reference)
                weights = self.selection.weigh(
                    difficulty,
                    first=first,
                    segments=state,
                    prefix_ipc=sum(segment.ipc for segment in prefix),
                    planned_ipc=self.planned_ipc,
                    seed=seed,
                )
                first, rank = first or difficulty, difficulty.rank
            experts: list[Tensor] = []
            if self.experts is not None:
                before = decoded(prefix, real) if prefix else None
                experts = list(self.experts.train(real, self.matching.matched(weights), state, seed, before))
            segment, _ = distil_segment(
                self.matching,
                plan,
                real,
                prefix,
                weights=weights,
                rank=rank,
                planned_ipc=self.planned_ipc,
                seed=seed,
                experts=experts,
                track=track,
            )
            prefix = (*prefix, segment)
            yield segment

    def _check_plans(self, plans: Sequence[SegmentPlan], prefix: Sequence[Segment]) -> None:
        held, planned = ([part.ipc for part in parts] for parts in (prefix, plans[: len(prefix)]))
        require(held == planned, f"plans must begin with those of prefix ({held} images per class)", planned)
        whole = decoded_count(sum(plan.ipc for plan in plans), self.matching.factor)
        self.matching.objective.check(whole)
