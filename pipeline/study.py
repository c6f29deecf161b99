"""The whole of params.yaml as one type: what a study consists of, and what must agree in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from dasm.coresets import Coreset
from dasm.data import Dataset
from dasm.errors import ConfigError, require
from dasm.evaluate import Protocol
from dasm.evaluators import Evaluators
from dasm.matching import Matching
from dasm.networks import Network
from dasm.plugins import find
from dasm.segments import SegmentPlan
from dasm.selection import Selection

#: dvc.yaml names the file of every network in use, so it has as many lines as there are networks.
NETWORKS_IN_DVC_YAML = 2


@final
@dataclass(frozen=True, kw_only=True)
class Link:
    """A step of the chain: from state k to state next."""

    k: int
    next: int


@final
@dataclass(frozen=True, kw_only=True)
class Control:
    """An arm without scores; `joint` distils every prefix at once instead of segment by segment."""

    joint: bool


@final
@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Who is judged, by which networks, and how."""

    arms: tuple[str, ...]
    networks: tuple[Network, ...]
    protocol: Protocol


@final
@dataclass(frozen=True, kw_only=True)
class Study:
    """One complete set of parameters."""

    study: str
    seed: int
    threads: int
    data: Dataset
    evaluator: Evaluators
    selection: Selection
    matching: Matching
    planned_ipc: int
    chain: tuple[Link, ...]
    segment: Mapping[str, SegmentPlan]
    arms: tuple[str, ...]
    controls: tuple[str, ...]
    coresets: tuple[str, ...]
    control: Mapping[str, Control]
    benchmark: Benchmark

    def __post_init__(self) -> None:
        """Refuse blocks that contradict each other."""
        hint = "python -m pipeline plan K rewrites both blocks"
        plain = [(link.k, link.next) for link in self.chain]
        require(
            plain == [(k, k + 1) for k in range(len(plain))], "chain must count k = 0, 1, … and next = k + 1", plain
        )
        names = [f"s{link.k}" for link in self.chain]
        require(sorted(self.segment) == sorted(names), f"segment must have {', '.join(names)}", [*self.segment], hint)
        require(bool(self.chain), "chain must have at least one segment", plain, hint)
        require(self.threads >= 1, "threads must be >= 1", self.threads)
        require(self.planned_ipc >= 1, "planned_ipc must be >= 1", self.planned_ipc)
        for name in self.coresets:
            find(Coreset, name, "coresets")  # type: ignore[type-abstract]
        everyone = (*self.arms, *self.controls, *self.coresets)
        require(len(set(everyone)) == len(everyone), "arms, controls and coresets must differ", everyone)
        require(set(self.benchmark.arms) == set(everyone), f"benchmark.arms must be {everyone}", self.benchmark.arms)
        require(set(self.control) == set(self.controls), f"control must describe {self.controls}", [*self.control])
        if len(self.benchmark.networks) != NETWORKS_IN_DVC_YAML:
            raise ConfigError(
                f"benchmark.networks: must be {NETWORKS_IN_DVC_YAML}, got {len(self.benchmark.networks)}"
                " (dvc.yaml names the file of each; add a line there and raise NETWORKS_IN_DVC_YAML)"
            )
