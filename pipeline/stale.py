"""`python -m pipeline stale`: which stages `dvc repro` would run now, why, and how long they took last time.

`dvc status` names those whose own inputs changed, not what follows from them, and knows nothing of a changed
params.yaml before `check` has run. Nothing runs here but `check`.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from pipeline import layout, params
from pipeline.drivers import procs
from pipeline.graph import dag
from pipeline.graph.templates import Stage, stages
from pipeline.stages import check

#: Of a stage that has nothing to do but start: what a Python with torch takes to come up, in seconds.
_START = 3.0


@final
@dataclass(frozen=True, kw_only=True)
class Plan:
    """What there is to run.

    Attributes:
        all: number of stages.
        reasons: of the stages that changed themselves, in order of dvc.yaml: what about each has changed.
        follow: stages that may have to run because of those.
        seconds: what all of these took last time, of those that are on record; 0 where none is.
        unknown: how many of them have never run.
        check: whether DVC will run `check` as well, as it does whenever a file of the code has changed.
    """

    all: int
    reasons: Mapping[str, Sequence[str]]
    follow: Sequence[str]
    seconds: float
    unknown: int
    check: bool


def main() -> None:
    """Say what has to run.

    Raises:
        ConfigError: anything wrong with the study, or no DVC project here.
    """
    procs.project()
    check.main()
    parents, status = dag.survey()
    print(said(plan(parents, status, stages(params.read()))))


def plan(parents: Mapping[str, set[str]], status: Mapping[str, Any], written: Sequence[Stage]) -> Plan:
    """Work out what has to run.

    Args:
        parents: of every stage, those above it.
        status: what `dvc status --json` says of stages whose own inputs or outputs changed.
        written: the stages as dvc.yaml has them.
    """
    # Its outputs are there already, so that what depends on them is found changed or not by itself.
    stale = {stage for stage in status if stage != dag.CHECK}
    while more := {stage for stage, above in parents.items() if above & stale} - stale:
        stale |= more
    by_name = {stage.name: stage for stage in written}
    made = [out for stage in stale & by_name.keys() for out in by_name[stage].outs]
    reasons = {stage: [*_reasons(status.get(stage, ()), made)] for stage in by_name if stage in stale}
    spent = [_seconds(by_name[stage]) for stage in reasons]
    return Plan(
        all=len(parents),
        reasons={stage: why for stage, why in reasons.items() if why},
        follow=[stage for stage, why in reasons.items() if not why],
        seconds=sum(seconds + _START for seconds in spent if seconds is not None) if any(spent) else 0.0,
        unknown=spent.count(None),
        check=dag.CHECK in status,
    )


def said(found: Plan) -> str:
    """Return the plan in words."""
    count = len(found.reasons) + len(found.follow)
    if not count:
        but = " but `check`, which takes seconds" if found.check else ""
        return f"nothing to do{but}: all {found.all} stages are up to date"
    known = f"about {_duration(found.seconds)} one after another, as last time" if found.seconds else ""
    never = f"of {found.unknown} no time is on record" if found.unknown else ""
    rows = [f"{count} of {found.all} stages have to run" + "".join(f"; {part}" for part in (known, never) if part)]
    alike: dict[tuple[str, str], list[str]] = {}
    for stage, why in found.reasons.items():
        alike.setdefault((_group(stage), ", ".join(why)), []).append(stage)
    names = [f"{ones[0]} and {len(ones) - 1} more" if len(ones) > 1 else ones[0] for ones in alike.values()]
    width = max(map(len, names), default=0)
    rows += [f"  {name:{width}}  {why}" for name, (_, why) in zip(names, alike, strict=True)]
    groups = Counter(map(_group, found.follow))
    if groups:
        what = ", ".join(f"{name} ({number})" if number > 1 else name for name, number in groups.items())
        rows.append(f"and, unless these come out as before, what follows from them: {what}")
    return "\n".join(rows)


def _group(stage: str) -> str:
    return stage.partition("@")[0]


def _reasons(changes: Sequence[Any], made: Sequence[str]) -> Iterator[str]:
    """Yield what has changed about a stage itself; what another stage that has to run will make anew is no reason."""
    deps = {path: how for change in changes if isinstance(change, Mapping) for path, how in _deps(change)}
    if "new" in deps.values():
        yield "has not run yet"
        return
    for path, how in deps.items():
        if isinstance(how, Mapping):
            yield from how
        elif not any(path == out or out.startswith(f"{path}/") or path.startswith(f"{out}/") for out in made):
            yield _words(path)
    for change in changes:
        if not isinstance(change, Mapping):
            yield str(change).removeprefix("changed ")
        elif "changed outs" in change:
            gone = {*change["changed outs"].values()} <= {"deleted", "not in cache"}
            yield "what it made is not here" if gone else "what it made is changed"


def _deps(change: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    found: Mapping[str, Any] = change.get("changed deps", {})
    return found.items()


def _words(path: str) -> str:
    """Say what a file is about that a stage depends on."""
    inside = Path(path)
    if layout.BLUEPRINT not in inside.parents:
        return path
    kind, *rest = inside.relative_to(layout.BLUEPRINT).with_suffix("").parts
    if not rest:
        return kind
    return "its code" if kind == "code" else f"its {rest[1]}"


def _seconds(stage: Stage) -> float | None:
    """Return how long a stage took last time; what was taken over counts as if it were done alone."""
    for out in map(Path, stage.outs):
        if layout.LEDGER in out.parents and out.exists():
            entry = json.loads(out.read_text())
            return float(entry["seconds"])
    return 0.0 if not any(layout.LEDGER in Path(out).parents for out in stage.outs) else None


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{round(seconds)} s"
    return f"{minutes} min" if minutes < 120 else f"{seconds / 3600:.1f} h"
