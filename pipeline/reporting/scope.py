"""What a study compares, as far as its report must know."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from dasm.errors import require
from pipeline import methods, params


@final
@dataclass(frozen=True, kw_only=True)
class Scope:
    """What a study compares.

    Attributes:
        name: of the study.
        scored: arms with windows; every other arm is compared with the first of them.
        controls: arms distilled without scores.
        joint: those of both that distil all images of a set at once, controls first.
        coresets: arms of real images.
        networks: the first one is distilled with, the others are unseen.
        segments: number of segments of a whole set.
        states: number of segments of every prefix that is benchmarked, ascending.
        scores: number of segments at every state that is scored, 0 first.
        unaugmented: whether networks are trained without augmentation as well.
        once: those of `joint` that distil the whole set alone; its first images are their prefixes.
    """

    name: str
    scored: tuple[str, ...]
    controls: tuple[str, ...]
    joint: tuple[str, ...]
    coresets: tuple[str, ...]
    networks: tuple[str, ...]
    segments: int
    states: tuple[int, ...]
    scores: tuple[int, ...]
    unaugmented: bool = False
    once: tuple[str, ...] = ()

    @classmethod
    def of(cls, study: Mapping[str, Any]) -> "Scope":
        """Read the parameters of a study."""
        found = {key: params.value(study, key) for key in ("study", "arms", "controls", "coresets", "chain", "rescore")}
        for key in ("arms", "chain"):
            require(bool(found[key]), f"params.yaml: {key} must name at least one", found[key])
        joint = tuple(arm for arm in (*found["controls"], *found["arms"]) if methods.is_joint(study, arm))
        return cls(
            name=str(found["study"]),
            scored=tuple(found["arms"]),
            controls=tuple(found["controls"]),
            joint=joint,
            once=tuple(arm for arm in joint if methods.is_once(study, arm)),
            coresets=tuple(found["coresets"]),
            networks=tuple(network["name"] for network in params.value(study, "benchmark.networks")),
            segments=len(found["chain"]),
            states=tuple(sorted(params.value(study, "benchmark.states"))),
            scores=(0, *(link["next"] for link in found["rescore"])),
            unaugmented=bool(params.value(study, "benchmark").get("protocol", {}).get("unaugmented", False)),
        )

    @property
    def reference(self) -> str:
        """The arm that all others are compared with."""
        return self.scored[0]

    @property
    def arms(self) -> tuple[str, ...]:
        """Every arm, in the order of the tables."""
        return self.scored + self.controls + self.coresets
