"""What an arm is made of: the shared blocks of params.yaml, and its own departures from them under `method`."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from dasm.errors import ConfigError, require
from dasm.plugins import build
from pipeline import layout, params

T = TypeVar("T")

#: Groups of arms, with the blocks that an arm of the group is made of.
BLOCKS: Mapping[str, tuple[str, ...]] = {
    "arms": ("matching", "evaluator", "selection"),
    "controls": ("matching",),
    "coresets": ("coreset",),
}

#: What `joint` says of an arm whose prefixes are cut from its whole set.
ONCE = "once"

_MOST_EFFORT = 1_000_000  # for each iteration of the study
# Options that make no difference where nothing has been distilled yet.
_LATER = {"evaluator": ("steps", "start", "order", "images"), "experts": ("prefix_steps", "prefix_recipe")}


def block(study: Mapping[str, Any], arm: str, name: str) -> Any:  # noqa: ANN401 - plain values
    """Return the options of one block of an arm: the shared ones, changed by `method.<arm>.<name>`."""
    shared = {"name": arm} if name == "coreset" else params.value(study, name)
    change = _departures(study, arm).get(name)
    return shared if change is None else merged(shared, change)


def section(study: Mapping[str, Any], arm: str, name: str, kind: type[T]) -> T:
    """Build the dataclass of one block of an arm."""
    return build(kind, block(study, arm, name), place(study, arm, name))


def place(study: Mapping[str, Any], arm: str, name: str) -> str:
    """Return where one block of an arm is described: under `method` if the arm departs from the shared one."""
    own = name in _departures(study, arm) or name == "coreset"
    return f"method.{arm}.{name}" if own else name


def plan(study: Mapping[str, Any], arm: str, k: int) -> dict[str, int]:
    """Return `ipc` and `iterations` of segment k of an arm: those of the study, the latter times the arm's `effort`."""
    shared = params.value(study, f"segment.s{k}")
    return {**shared, "iterations": round(shared["iterations"] * effort(study, arm))}


def whole_plan(study: Mapping[str, Any], arm: str, k: int) -> dict[str, int]:
    """Return `ipc` and `iterations` of all segments of an arm up to k together: what a joint arm distils at once.

    As planned, also where a shorter prefix was ended early or passed over.
    """
    plans = [plan(study, arm, number) for number in range(k + 1)]
    return {key: sum(one[key] for one in plans) for key in ("ipc", "iterations")}


def distilled_plan(study: Mapping[str, Any], arm: str, k: int) -> dict[str, int]:
    """Return `ipc` and `iterations` of what an arm distils after state k: a segment, or a joint one the whole prefix.

    An arm whose joint set is made once distils all of it after state 0, and cuts it.
    """
    if not is_joint(study, arm):
        return plan(study, arm, k)
    return whole_plan(study, arm, len(params.value(study, "chain")) - 1 if is_once(study, arm) else k)


def effort(study: Mapping[str, Any], arm: str) -> float:
    """Return how many iterations an arm makes for each one of the study; objectives cost differently by iteration."""
    return float(_departures(study, arm).get("effort", 1.0))


def joint(study: Mapping[str, Any], arm: str) -> bool | str:
    """Return whether an arm distils all images of a set at once: every prefix anew, or the whole set alone (`ONCE`)."""
    found: bool | str = _departures(study, arm).get("joint", False)
    return found


def is_joint(study: Mapping[str, Any], arm: str) -> bool:
    """Return whether an arm distils all images of a set at once instead of segment by segment."""
    return bool(joint(study, arm))


def is_once(study: Mapping[str, Any], arm: str) -> bool:
    """Return whether a joint arm distils the whole set alone, and its prefixes are the first images of that."""
    return joint(study, arm) == ONCE


def at_first(block: str, options: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the options of the block `evaluator` or `experts` that count where nothing has been distilled yet."""
    if options is None:
        return None
    return {name: value for name, value in options.items() if name not in _LATER[block]}


def experts_due(arm: str, state: int) -> tuple[bool, str]:
    """Return what the blueprint says of the experts of a state of an arm, or of `real`, those of all first segments.

    Returns:
        Whether they have to be trained; and why not, where an arm that follows experts has no use for these.
    """
    file = "experts_real.json" if arm == "real" else f"arms/{arm}/experts/{state}.json"
    found = json.loads((layout.BLUEPRINT / file).read_text())
    return bool(found["experts"]), str(found.get("because", ""))


def prefix_due(arm: str, state: int) -> bool:
    """Return whether the blueprint wants this state of an arm distilled."""
    return bool(json.loads((layout.BLUEPRINT / f"arms/{arm}/prefix/{state}.json").read_text())["due"])


def check(study: Mapping[str, Any]) -> None:
    """Refuse departures of arms that there are not, or in blocks that an arm of the kind does not have."""
    groups = {arm: group for group in BLOCKS for arm in params.value(study, group)}
    for arm, change in departures(study).items():
        rule = f"method must describe arms, controls or coresets ({', '.join(groups)})"
        require(arm in groups, rule, arm, "a new arm is named in one of these lists, and in benchmark.arms")
        if not isinstance(change, Mapping):
            raise ConfigError(f"method.{arm}: must be a mapping, got {change!r}")
        distilled = ("effort", "joint") if groups[arm] != "coresets" else ()
        # A joint arm has one window, that of state 0, and so nobody to ask again.
        alone = groups[arm] == "arms" and is_joint(study, arm)
        blocks = tuple(name for name in BLOCKS[groups[arm]] if not (alone and name == "evaluator"))
        allowed, kind = (*blocks, *distilled, "note"), f"joint {groups[arm]}" if alone else groups[arm]
        for key in change:
            if key not in allowed:
                raise ConfigError(f"method.{arm}: no option called {key!r} ({kind} have {', '.join(allowed)})")
        said = change.get("joint", False)
        known = isinstance(said, bool) or said == ONCE
        require(known, f"method.{arm}.joint: must be true, false or {ONCE}", said)
        share = change.get("effort", 1.0)
        number = isinstance(share, int | float) and not isinstance(share, bool)
        require(number and 0 < share <= _MOST_EFFORT, f"method.{arm}.effort: must be in (0, {_MOST_EFFORT}]", share)
        if not isinstance(change.get("note", ""), str):
            raise ConfigError(f"method.{arm}.note: must be text for the report, got {change['note']!r}")


def merged(shared: Any, change: Any) -> Any:  # noqa: ANN401 - plain values
    """Return `shared` changed key by key; a block that names another plug-in replaces the whole block."""
    if not isinstance(shared, Mapping) or not isinstance(change, Mapping):
        return change
    if "name" in change and change["name"] != shared.get("name"):
        return dict(change)
    return {**shared, **{key: merged(shared.get(key), value) for key, value in change.items()}}


def departures(study: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what arms change, by arm; nothing where nobody departs and `method` is left empty.

    Raises:
        ConfigError: `method` is something else than a mapping.
    """
    found: Mapping[str, Any] | None = params.value(study, "method")
    if found is not None and not isinstance(found, Mapping):
        raise ConfigError(f"method: must be a mapping of arms, got {found!r}")
    return found or {}


def _departures(study: Mapping[str, Any], arm: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = departures(study).get(arm, {})
    return found
