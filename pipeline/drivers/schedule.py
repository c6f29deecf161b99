"""Which stage is next, which need not run, and which cannot, because of whom; and what those that run compete for.

Nothing here knows who runs stages, and how.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from graphlib import TopologicalSorter

from pipeline.graph import dag


class Verdict(Enum):
    """What became of a stage, as far as those below it care."""

    DONE = "its outputs may be others than before"
    UNCHANGED = "nothing changed for it"
    FAILED = "it did not end well"
    SKIPPED = "a stage above it failed"


class Schedule:
    """Stages on their way to a verdict, parents first.

    The chain of an arm's segments is what takes longest: its stages go before those that nothing waits for.
    """

    def __init__(self, parents: dict[str, set[str]], dirty: Collection[str]) -> None:
        """Begin with stages, each with those above it, and the names of those whose own inputs or outputs changed."""
        self.parents = parents
        self.verdicts: dict[str, Verdict] = {}
        self._dirty = dirty
        self._blame: dict[str, frozenset[str]] = {}
        self._heights = dag.heights(parents)
        self._ready: list[str] = []
        self._graph = TopologicalSorter(parents)
        self._graph.prepare()

    def is_active(self) -> bool:
        """Say whether a stage is left without a verdict."""
        return self._graph.is_active()

    def ready(self) -> list[str]:
        """Return the stages that wait for nobody and have not begun, the most urgent first."""
        self._ready = sorted([*self._ready, *self._graph.get_ready()], key=lambda stage: -self._heights[stage])
        return [*self._ready]

    def fate(self, stage: str) -> Verdict | None:
        """Return the verdict on a stage that is not to run; None if it is: it, or one above it, has changed."""
        if self.blame(stage):
            return Verdict.SKIPPED
        touched = any(self.verdicts[above] is not Verdict.UNCHANGED for above in self.parents[stage])
        return None if touched or stage in self._dirty else Verdict.UNCHANGED

    def blame(self, stage: str) -> frozenset[str]:
        """Return the failed stages because of which a stage has not run, or is not to run."""
        return frozenset().union(*(self._blame[above] for above in self.parents[stage]))

    def begin(self, stage: str) -> None:
        """Note that a stage runs."""
        self._ready.remove(stage)

    def end(self, stage: str, verdict: Verdict) -> None:
        """Note what became of a stage, whether it has run or not."""
        if stage in self._ready:
            self._ready.remove(stage)
        self.verdicts[stage] = verdict
        self._blame[stage] = frozenset({stage}) if verdict is Verdict.FAILED else self.blame(stage)
        self._graph.done(stage)

    def of(self, verdict: Verdict) -> list[str]:
        """Return the stages with this verdict, in the order of their ends."""
        return [stage for stage, found in self.verdicts.items() if found is verdict]


@dataclass
class Slots:
    """What stages compete for: a place among `jobs`, and one of `devices` for those that want a GPU."""

    jobs: int
    devices: list[str] | None
    on_gpu: set[str]

    def claim(self, stage: str) -> dict[str, str] | None:
        """Take a place and return the environment that goes with it, or None if the stage has to wait."""
        wants_device = self.devices is not None and stage in self.on_gpu
        if not self.jobs or (wants_device and not self.devices):
            return None
        self.jobs -= 1
        return {"CUDA_VISIBLE_DEVICES": self.devices.pop(0)} if wants_device and self.devices else {}

    def release(self, environment: dict[str, str]) -> None:
        """Give back what `claim` returned."""
        self.jobs += 1
        if self.devices is not None:
            self.devices[:0] = environment.values()  # one job alone stays on the first
