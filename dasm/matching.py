"""Optimise the pixels of one segment under an objective, with checkpoints."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor

from dasm import rng
from dasm.errors import ConfigError, at_least, require, within
from dasm.history import History
from dasm.machine import ranks
from dasm.machine.counts import counting
from dasm.machine.precision import products
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.objectives import Objective, State, Surroundings
from dasm.pixels import PixelRule
from dasm.plugins import name_of
from dasm.storage.checkpoint import Checkpoint
from dasm.train import Trainer
from dasm.types import LabelledImages
from dasm.unfinished import Unfinished


@final
@dataclass(frozen=True, kw_only=True)
class Matching:
    """How a segment's pixels are optimised.

    Attributes:
        objective: what they minimise.
        trainer: of the networks through which the sets are seen.
        factor: multi-formation factor f >= 1; each stored image decodes to f * f training images (2 for small images
            and 3 for ImageNet in IDC).
        learning_rate: of the pixels, in (0, 1e9], in the unit of the objective's own rule; None takes the objective's
            own (for IDC: 5e-3 at 10 images per class and 32 pixels a side).
        momentum: of the pixels, in [0, 1); None takes the objective's own.
        match_prefix: match the union of the frozen segments and the new one, as SeqMatch (arXiv 2311.01570) and PDD
            (arXiv 2310.06982) do, instead of the new segment alone (A11). Synthetic batches are drawn from the whole
            of it, as in PDD; SeqMatch takes as many of each segment, and so can `frozen_batch` of `gradient`.
        budget: the images per class that the pixels' rate grows with, where the objective's rule is IDC's: those
            `planned` for the whole set, or those that are `matched`, which of a joint set are its own, as in IDC (A14).
        even_rate: with `match_prefix`, multiply the pixels' rate by the images of the union over those of the segment,
            so that these, a small part of a mean, move as far as in joint distillation (A14).
        windowed: what the window is for: the images a segment starts from, those it is matched with, or both (R10).
        learns_from: the real images that matching networks learn from between pixel updates (A10): `all` of them, as in
            IDC, SeqMatch and PDD, or those that the segment is matched with, the `window` alone.
        patience: end a segment early, when the mean distance of this many iterations, >= 1, is no lower than that of as
            many before them; looked at once in as many, and rounded up to whole periods of the objective, so that
            networks of the same ages are compared. None always goes to the end, as all the papers do.
        tolerance: share in [0, 1) by which the mean distance has to fall for `patience` to last.
    """

    objective: Objective
    trainer: Trainer
    factor: int = 2
    learning_rate: float | None = None
    momentum: float | None = None
    match_prefix: bool = False
    budget: Literal["planned", "matched"] = "planned"
    even_rate: bool = False
    windowed: Literal["both", "initial", "matching"] = "both"
    learns_from: Literal["all", "window"] = "all"
    patience: int | None = None
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        at_least(self, 1, "factor", "patience")
        within(self, "[0, 1)", "tolerance")
        goal, name, union = self.objective, name_of(self.objective), self.match_prefix
        self._must("match_prefix", goal.joins_prefix or not union, f"false for {name}, which matches every image alone")
        self._must("match_prefix", union or not goal.parts_union, f"true for {name} with a frozen_batch")
        self._must("match_prefix", union or not self.even_rate, "true with even_rate, which makes up for it")
        scaled = goal.rule.kind == "sgd" or not self.even_rate
        self._must("even_rate", scaled, f"false for {name}, whose steps do not grow with the push")
        reads = goal.reads_window or self.windowed != "matching"
        self._must("windowed", reads, f"both or initial for {name}, which reads no window as set here")
        learns = goal.learns_from_real or self.learns_from == "all"
        self._must("learns_from", learns, f"all for {name}, whose networks learn from no real images")
        _ = self.rule

    def _must(self, option: str, allowed: bool, rule: str) -> None:
        require(allowed, f"{option} must be {rule}", getattr(self, option))

    @property
    def rule(self) -> PixelRule:
        """The objective's own rule, with this learning rate and momentum where they are given."""
        given = {"learning_rate": self.learning_rate, "momentum": self.momentum}
        return replace(self.objective.rule, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]

    def matched(self, weights: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the weights of the real images that a segment, or an expert, learns from under this window."""
        return torch.ones_like(weights) if self.windowed == "initial" else weights

    def learnt(self, real: LabelledImages, weights: Float[Tensor, " n"]) -> LabelledImages:
        """Return the real images that matching networks learn from under a window: those of some weight, or all."""
        kept = self.matched(weights) > 0
        if self.learns_from == "all" or bool(kept.all()):
            return real
        return real.subset(torch.nonzero(kept).flatten().to(real.labels.device))

    def effective(self, *, prefix: bool, windowed: bool) -> "Matching":
        """Return the same with what makes no difference left as it is by default: equal ones distil the same segment.

        `prefix` says whether there are frozen segments, `windowed` whether the weights of the real images differ.
        """
        return replace(
            self,
            match_prefix=self.match_prefix and prefix,
            budget=self.budget if self.rule.by_budget else "planned",
            even_rate=self.even_rate and prefix,
            windowed=self.windowed if windowed else "both",
            learns_from=self.learns_from if windowed and self.windowed != "initial" else "all",
            objective=self.objective if prefix else self.objective.without_prefix(),
        )

    def prepare(self, real: LabelledImages, stream: int, surroundings: Surroundings | None = None) -> State:
        """Do what the objective does before the first pixel moves; `real` is what networks learn from (`learnt`).

        Raises:
            ConfigError: the objective needs expert trajectories and gets none, or runs in several processes and cannot
                be split.
        """
        name, found = name_of(self.objective), surroundings or Surroundings()
        if ranks.count() > 1 and not self.objective.splits:
            raise ConfigError(f"objective: {name} as set here cannot be split, got {ranks.count()} processes (run one)")
        if self.objective.needs_experts and not found.experts:
            raise ConfigError(f"objective: {name} must be given expert trajectories, got none (see `dasm.experts`)")
        return self.objective.prepare(real, self.trainer, rng.derive(stream, "objective"), found)

    def optimise(
        self,
        initial: Float[Tensor, "k m c h w"],
        real: LabelledImages,
        weights: Float[Tensor, " n"],
        *,
        iterations: int,
        planned_ipc: int,
        stream: int,
        frozen: Sequence[Float[Tensor, "p c h w"]] = (),
        state: State | None = None,
        checkpoint: Checkpoint | None = None,
        track: Callable[[range], Iterable[int]] = iter,
    ) -> tuple[Float[Tensor, "k m c h w"], Float[Tensor, " i"]]:
        """Move the pixels of one segment.

        Args:
            initial: stored pixels in [0, 1], m per class.
            real: all real training images.
            weights: of the window, one per real image.
            iterations: pixel updates of every class, >= 0.
            planned_ipc: images per class of the whole set.
            frozen: stored pixels of earlier segments, one tensor per class; matched too if `match_prefix`.
            state: what `prepare` returned for this stream; None prepares one, for an objective that asks for nothing.
            stream: the result depends on the arguments and this alone (on a GPU, up to the order of sums).
            checkpoint: where to continue from and to save to; a continued run ends with the same bytes. Of several
                processes the first one saves, and all of them have to see the file.
            track: wraps the range of iterations still to do, to show progress.

        Returns:
            The pixels, clamped to [0, 1], and the distance of every iteration that was done, summed over the classes.

        Raises:
            FloatingPointError: a distance is not finite; names the iteration. (A GPU notices later, before it saves.)
        """
        state = self.prepare(self.learnt(real, weights), stream) if state is None else state
        batches = RealBatches(data=real, weights=weights.to(real.labels.device), stream=rng.derive(stream, "real"))
        synthetic = self._synthetic(initial, frozen, real, stream)
        segment = self._begin(synthetic, real, state, iterations, planned_ipc)
        optimiser, history = segment.optimiser, segment.history
        with counting(segment.counts), products("fp32", real.labels.device.type):
            done = segment.restore(checkpoint)
            for iteration in track(range(done, iterations)):
                if self._settled(history, iteration):
                    break
                if iteration % self.objective.period == 0:
                    optimiser.clamp()
                optimiser.before()
                draw = rng.derive(stream, "iteration", iteration)
                for distance in self.objective.distances(state, batches, synthetic, iteration, draw):
                    optimiser.accumulate(distance)
                    history.add(iteration, distance)
                optimiser.gather(history.values[iteration])
                done = iteration + 1
                history.watch(done)
                optimiser.step(self.rule.share(iteration, iterations))
                segment.offer(checkpoint, done)
        return segment.result(done)

    def _begin(
        self, synthetic: SyntheticBatches, real: LabelledImages, state: State, iterations: int, planned_ipc: int
    ) -> Unfinished:
        even = synthetic.share if self.even_rate else 1.0
        rule = replace(self.rule, learning_rate=self.rule.learning_rate / even)
        budget = synthetic.stored if self.budget == "matched" else planned_ipc
        turns = len(synthetic.pixels) if self.objective.class_by_class else 1
        optimiser = rule.start(synthetic.pixels, budget, turns, real.std)
        history = History(iterations, real.labels.device)
        return Unfinished(pixels=synthetic.pixels, optimiser=optimiser, state=state, history=history)

    def _settled(self, history: History, done: int) -> bool:
        if self.patience is None:
            return False
        period = self.objective.period
        return history.settled(done, -(-self.patience // period) * period, self.tolerance)

    def _synthetic(
        self, initial: Float[Tensor, "k m c h w"], frozen: Sequence[Tensor], real: LabelledImages, stream: int
    ) -> SyntheticBatches:
        return SyntheticBatches(
            pixels=[images.clone().requires_grad_() for images in initial.to(real.labels.device)],
            frozen=frozen if self.match_prefix else (),
            factor=self.factor,
            mean=real.mean,
            std=real.std,
            stream=rng.derive(stream, "synthetic"),
        )
