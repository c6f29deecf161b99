"""What sets each arm apart from the reference: the group it competes in, and what it is in a few words.

The reference is the first scored arm. Everything is read from params.yaml, and from the source what an option is that
only other arms name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from pipeline import methods
from pipeline.reporting.defaults import default
from pipeline.reporting.scope import Scope

GROUPS: Mapping[str, str] = {
    "reference": "Reference",
    "objective": "Objectives inside DASM",
    "joint": "Objectives, joint",
    "window": "Windows",
    "score": "Scores",
    "use": "What the window is for",
    "evaluator": "Evaluators",
    "option": "Other options of DASM",
    "coreset": "Coresets",
    "control": "Segments without windows",
}

# A scored arm competes where it first departs from the reference: another objective may need another pixel rate,
# another score more snapshots, and neither is what the arm is there to show.
_PLACES: Mapping[str, str] = {
    "matching.objective": "objective",
    "selection.window": "window",
    "selection.score": "score",
    "matching.windowed": "use",
    "matching.learns_from": "use",
    "selection.ranks": "window",
    "selection.first_window": "use",
    "evaluator": "evaluator",
}
_NAMED = {"objective": "matching.objective", "window": "selection.window", "score": "selection.score"}
_NAMED |= {"joint": "matching.objective", "control": "matching.objective", "coreset": "coreset"}

Options = dict[str, Any]


@final
@dataclass(frozen=True, kw_only=True)
class Entry:
    """An arm in its group.

    Attributes:
        arm: its name in the study.
        what: plug-in and options that differ from the reference, in a few words.
        note: what the study says about the arm, under `method.<arm>.note`; may be empty.
    """

    arm: str
    what: str
    note: str

    @property
    def excuse(self) -> bool:
        """Whether the note says why the arm is below random images, so that it is out of place where it is not."""
        return self.note.startswith("Why:")


def roster(study: Mapping[str, Any], scope: Scope) -> dict[str, tuple[Entry, ...]]:
    """Return the groups that a study has, each with its arms; the reference is in all that are compared with it."""
    reference = _options(study, scope.reference, methods.BLOCKS["arms"])
    named = {f"{place}.name" for place in ("matching.objective", "selection.window", "selection.score")}
    members = {"reference": {scope.reference: {path: name for path, name in reference.items() if path in named}}}
    for arm in scope.arms:
        if arm == scope.reference:
            continue
        blocks = methods.BLOCKS["arms" if arm in scope.scored else "coresets" if arm in scope.coresets else "controls"]
        mine = _options(study, arm, blocks)
        changes = _changes(mine, reference)
        group = _group(arm, changes, scope)
        name = f"{_NAMED.get(group)}.name"
        members.setdefault(group, {})[arm] = {**{path: mine[path] for path in [name] if path in mine}, **changes}
    for group in {*members} & {*_PLACES.values()}:
        shown = dict.fromkeys(path for options in members[group].values() for path in options)
        # Of another plug-in's options the reference has none; of its own, those that it does not name are as they come.
        unnamed = {} if group in _NAMED else {path: default(path) for path in shown if path not in reference}
        own = {path: value for path, value in reference.items() if path in shown} | unnamed
        members[group] = {scope.reference: own, **members[group]}
    notes = {arm: str(methods.departures(study).get(arm, {}).get("note", "")) for arm in scope.arms}
    return {
        group: tuple(
            Entry(arm=arm, what=_words(options, _NAMED.get(group, "")) + _joint(arm, scope), note=notes[arm])
            for arm, options in members[group].items()
        )
        for group in GROUPS
        if group in members
    }


def homes(groups: Mapping[str, Sequence[Entry]]) -> dict[str, tuple[str, Entry]]:
    """Return of every arm the group that is its own and what it is there; the reference's own is its group alone."""
    found: dict[str, tuple[str, Entry]] = {}
    for group, entries in groups.items():
        for entry in entries:
            found.setdefault(entry.arm, (group, entry))
    return found


def _options(study: Mapping[str, Any], arm: str, blocks: Sequence[str]) -> Options:
    return {path: value for name in blocks for path, value in _flat(methods.block(study, arm, name), name)}


def _flat(value: Any, path: str) -> list[tuple[str, Any]]:  # noqa: ANN401 - plain values
    if not isinstance(value, Mapping):
        return [(path, value)]
    return [leaf for key, inner in value.items() for leaf in _flat(inner, f"{path}.{key}")]


def _changes(mine: Options, reference: Options) -> Options:
    """Return the options that the reference does not have in the same way; of another plug-in, all of them."""
    changed = {path for path, value in mine.items() if path not in reference or reference[path] != value}
    replaced = tuple(path.removesuffix("name") for path in changed if path.endswith(".name"))
    return {path: value for path, value in mine.items() if path in changed or path.startswith(replaced)}


def _group(arm: str, changes: Options, scope: Scope) -> str:
    if arm not in scope.scored:
        return "joint" if arm in scope.joint else "coreset" if arm in scope.coresets else "control"
    for place, group in _PLACES.items():
        if any(f"{path}.".startswith(f"{place}.") for path in changes):
            return group
    return "option"


def _words(options: Options, place: str) -> str:
    ordered = sorted(options, key=lambda path: (path != f"{place}.name", not path.startswith(f"{place}.")))
    said = []
    for path in ordered:
        *_, parent, key = path.split(".")
        value = _plain(options[path])
        name = "" if path == f"{place}.name" else f"{parent if key == 'name' else key} "
        said.append(name + value)
    return ", ".join(said)


def _joint(arm: str, scope: Scope) -> str:
    # Of the others their group says it.
    said = ", joint" if arm in scope.joint and arm in scope.scored else ""
    return f"{said}, prefixes cut from one set" if arm in scope.once else said


def _plain(value: Any) -> str:  # noqa: ANN401 - plain values
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return "+".join(map(_plain, value)) or "none" if isinstance(value, list | tuple) else str(value)
