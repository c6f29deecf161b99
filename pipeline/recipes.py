"""What a segment owes to params.yaml: exactly what its stage depends on, and so part of what it says of itself."""

from collections.abc import Mapping
from typing import Any

from pipeline import methods, params


def distilled(
    study: Mapping[str, Any], arm: str, ipc: int, iterations: int, *, experts: bool = False
) -> dict[str, Any]:
    """Return the recipe of a distilled segment.

    The window is no part of it: it comes from data, and its hash is recorded beside the recipe.

    Args:
        study: the parameters.
        arm: name of a scored arm or a control.
        ipc: stored images per class of the segment, for a joint arm those of the whole prefix.
        iterations: pixel updates, likewise.
        experts: whether the arm's objective follows experts; how these were trained is then part of it.
    """
    return {
        "matching": methods.block(study, arm, "matching"),
        **({"experts": params.value(study, "experts")} if experts else {}),
        "joint": methods.is_joint(study, arm),
        "segment": {"ipc": ipc, "iterations": iterations},
        **{name: params.value(study, name) for name in ("planned_ipc", "seed", "threads")},
    }


def picked(study: Mapping[str, Any], arm: str, ipc: int) -> dict[str, Any]:
    """Return the recipe of a segment of real images."""
    return {
        "coreset": methods.block(study, arm, "coreset"),
        "segment": {"ipc": ipc},
        **{name: params.value(study, name) for name in ("seed", "threads")},
    }
