"""What a segment owes to params.yaml: exactly what its stage depends on, and so part of what it says of itself."""

from collections.abc import Mapping
from typing import Any

from pipeline import methods, params


def distilled(
    study: Mapping[str, Any], arm: str, ipc: int, iterations: int, *, experts: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the recipe of a distilled segment.

    The window is no part of it: it comes from data, and its hash is recorded beside the recipe.

    Args:
        study: the parameters.
        arm: name of a scored arm or a control.
        ipc: stored images per class of the segment, for a joint arm those of all that it distils at once.
        iterations: pixel updates, likewise.
        experts: how those were trained that the segment follows, if it follows any.
    """
    return {
        "matching": methods.block(study, arm, "matching"),
        **({} if experts is None else {"experts": dict(experts)}),
        "joint": methods.joint(study, arm),
        "segment": {"ipc": ipc, "iterations": iterations},
        **{name: params.value(study, name) for name in ("planned_ipc", "seed", "threads")},
    }


def followed(study: Mapping[str, Any], *, first: bool) -> dict[str, Any]:
    """Return what the experts of a segment depend on; those of a first one, or a joint one, have no prefix to learn."""
    options = params.value(study, "experts")
    return dict(methods.at_first("experts", options) or {}) if first else dict(options)


def picked(study: Mapping[str, Any], arm: str, ipc: int) -> dict[str, Any]:
    """Return the recipe of a segment of real images."""
    return {
        "coreset": methods.block(study, arm, "coreset"),
        "segment": {"ipc": ipc},
        **{name: params.value(study, name) for name in ("seed", "threads")},
    }
