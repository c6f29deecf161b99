"""The whole of params.yaml as one type: what a study consists of, and what must agree in it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NewType, final

from dasm.coresets import Coreset
from dasm.data import Dataset
from dasm.difficulty import check_network
from dasm.errors import ConfigError, require
from dasm.evaluate import Protocol
from dasm.evaluators import Evaluators
from dasm.experts import Experts
from dasm.formation import decoded_count
from dasm.matching import Matching
from dasm.networks import Network
from dasm.plugins import build, check_known, name_of
from dasm.scores import Score
from dasm.segments import SegmentPlan
from dasm.selection import Selection
from pipeline import methods, params
from pipeline.names import NAME_RULE, TAKEN, is_name

#: Blocks that an arm is made of, and those that the whole study shares, by name.
KINDS: Mapping[str, type] = {
    "matching": Matching,
    "evaluator": Evaluators,
    "selection": Selection,
    "coreset": Coreset,
}
SHARED = ("data", "evaluator", "experts", "benchmark")

#: Any integer: it counts nothing, so that no bound of `dasm.plugins.build` is for it.
Seed = NewType("Seed", int)

# torch starts as many as it is told to, tens of thousands too, until nothing else on the machine can start.
_MOST_THREADS = 1024


@final
@dataclass(frozen=True, kw_only=True)
class Link:
    """A step of the chain: from state k to state next."""

    k: int
    next: int


@final
@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Who is judged, at which prefixes, by which networks, and how.

    Attributes:
        arms: everyone.
        states: the prefixes, by their number of segments.
        networks: the first one is distilled with, the others are unseen.
        protocol: the same for all.
    """

    arms: tuple[str, ...]
    states: tuple[int, ...]
    networks: tuple[Network, ...]
    protocol: Protocol

    def __post_init__(self) -> None:
        """Refuse a benchmark of nothing."""
        require(bool(self.networks), "networks must be at least one", [])
        require(bool(self.states), "states must be at least one", [])
        require(len(set(self.states)) == len(self.states), "states must differ", [*self.states])
        names = [name_of(network) for network in self.networks]
        require(len(set(names)) == len(names), "networks must be of different names", names)


@final
@dataclass(frozen=True, kw_only=True)
class Study:
    """One complete set of parameters."""

    study: str
    seed: Seed
    threads: int
    watch: str
    data: Dataset
    evaluator: Evaluators
    selection: Selection
    matching: Matching
    planned_ipc: int
    chain: tuple[Link, ...]
    rescore: tuple[Link, ...]
    segment: Mapping[str, SegmentPlan]
    arms: tuple[str, ...]
    controls: tuple[str, ...]
    coresets: tuple[str, ...]
    experts: Experts | None
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
        require(1 <= self.threads <= _MOST_THREADS, f"threads must be in [1, {_MOST_THREADS}]", self.threads)
        require(self.planned_ipc >= 1, "planned_ipc must be >= 1", self.planned_ipc)
        require(
            self.chain[: len(self.rescore)] == self.rescore,
            "rescore must be the beginning of chain",
            [*self.rescore],
            hint,
        )
        enough = len(self.rescore) >= len(self.chain) - 1
        require(enough, "rescore must reach the last segment but one", len(self.rescore), hint)
        require(bool(self.arms), "arms must be at least one", [*self.arms], "all others are compared with the first")
        require(is_name(self.study), f"study must be {NAME_RULE}", self.study)
        everyone = (*self.arms, *self.controls, *self.coresets)
        for arm in everyone:
            rule = f"arms, controls and coresets must be {NAME_RULE}, and none called {' or '.join(TAKEN)}"
            require(is_name(arm) and arm not in TAKEN, rule, arm)
        require(len(set(everyone)) == len(everyone), "arms, controls and coresets must differ", everyone)
        require(set(self.benchmark.arms) == set(everyone), f"benchmark.arms must be {everyone}", self.benchmark.arms)
        within = all(1 <= state <= len(self.chain) for state in self.benchmark.states)
        require(within, f"benchmark.states must be in 1 … {len(self.chain)}", [*self.benchmark.states])


def parse(study: Mapping[str, Any]) -> Study:
    """Build a study from what params.yaml says, each arm's own departures included.

    Raises:
        ConfigError: anything wrong in it, by its path.
    """
    check_known(study, [*(field.name for field in fields(Study)), "method"], "params.yaml")
    whole = build(Study, {name: block for name, block in study.items() if name != "method"}, "params.yaml")
    methods.check(study)
    params.value(study, "matching.factor")  # which dvc.yaml names, so the library's default does not do
    for arm in whole.arms:
        selection = methods.section(study, arm, "selection", Selection)
        _check_score(whole, study, arm, selection.score)
        first = selection.first_window == "window" or not methods.is_joint(study, arm)
        rule = f"selection.first_window must be window for arm {arm!r}, whose joint sets have no other"
        require(first, rule, selection.first_window, "without a window list it under controls")
    images = sum(plan.ipc for plan in whole.segment.values())
    for arm in (*whole.arms, *whole.controls):
        matching = methods.section(study, arm, "matching", Matching)
        try:
            matching.objective.check(decoded_count(images, matching.factor))
        except ConfigError as error:
            raise ConfigError(f"{methods.place(study, arm, 'matching')}.{error}") from error
        if matching.objective.needs_experts:
            _check_experts(whole, study, arm, matching)
    for arm in whole.coresets:
        coreset = methods.section(study, arm, "coreset", Coreset)
        rule = f"evaluator.snapshots must be >= {coreset.snapshots_needed} for the coreset {arm!r}"
        require(whole.evaluator.snapshots >= coreset.snapshots_needed, rule, whole.evaluator.snapshots)
        if coreset.asked is not None:
            _check_convolutions(whole.evaluator, coreset.asked, f"the coreset {arm!r}")
    return whole


def _check_score(whole: Study, study: Mapping[str, Any], arm: str, score: Score) -> None:
    """Refuse evaluators that a score cannot ask: the arm's own, and the shared ones, which state 0 goes by."""
    own, need = methods.section(study, arm, "evaluator", Evaluators), score.snapshots_needed
    for whose, evaluator in (("the arm's own", own), ("the shared", whole.evaluator)):
        rule = f"evaluator.snapshots must be >= {need} for the score {name_of(score)!r} of arm {arm!r}, {whose} too"
        require(evaluator.snapshots >= need, rule, evaluator.snapshots, "state 0 goes by the shared ones")
        _check_convolutions(evaluator, score, f"arm {arm!r}, {whose} too")


def _check_convolutions(evaluator: Evaluators, score: Score, whose: str) -> None:
    try:
        check_network(score, evaluator.trainer.network)
    except ConfigError as error:
        raise ConfigError(f"evaluator.{error} ({whose})") from error


def _check_experts(whole: Study, study: Mapping[str, Any], arm: str, matching: Matching) -> None:
    objective, experts = matching.objective, whole.experts
    name = name_of(objective)
    if experts is None:
        raise ConfigError(f"experts must be described, because arm {arm!r} follows them ({name}), got None")
    if arm in whole.controls and not methods.is_joint(study, arm):
        raise ConfigError(
            f"method.{arm}: a control that follows experts must be joint"
            " (for segments without windows list it under arms, with the window 'all')"
        )
    need = objective.epochs_needed
    require(experts.epochs >= need, f"experts.epochs must be >= {need}, which arm {arm!r} follows", experts.epochs)
    same = experts.trainer.network == matching.trainer.network
    rule = f"experts.trainer.network must be that of the matching of arm {arm!r}, {matching.trainer.network}"
    require(same, rule, experts.trainer.network)
    if arm in whole.arms:
        selection = methods.section(study, arm, "selection", Selection)
        whole_first = selection.first_window == "all" or matching.windowed == "initial"
        rule = f"selection.first_window must be all for arm {arm!r}, whose first segment follows experts of all images"
        require(whole_first, rule, selection.first_window, "or matching.windowed: initial")
