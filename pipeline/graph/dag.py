"""DVC's graph as the driver sees it: who depends on whom, what is stale, and what `dvc repro` did with a stage."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from dasm.errors import ConfigError
from pipeline import params
from pipeline.graph.templates import stages

#: Every stage depends on files that this one writes, each on its own few; most of them stay as they are.
CHECK = "check"

DVC = (sys.executable, "-m", "dvc")

_ADVICE = (
    "To track the changes with git, run:",
    "git add ",
    "To enable auto staging, run:",
    "dvc config core.autostage",
    "Use `dvc push`",
)


class ReproduceError(ConfigError):
    """The study could not be reproduced; the message says what to do."""


def ask(*arguments: str) -> str:
    """Run a DVC command that only reads; return what it prints."""
    answer = subprocess.run([*DVC, *arguments], capture_output=True, text=True, env=environment({}), check=False)
    if answer.returncode:
        # As DVC says it; "lock" alone would be in every word about dvc.lock.
        held = re.search(r"busy|unable to acquire lock", answer.stderr, re.IGNORECASE)
        pid = re.search(r"PID (\d+)", answer.stderr)
        said = f"pid {pid[1]}" if held and pid else " ".join(answer.stderr.split())
        hint = "is another dvc at work here? " if held else ""
        raise ReproduceError(f"dvc {' '.join(arguments)}: {hint}{said}")
    return answer.stdout


def check_laid_out() -> None:
    """Refuse parameters that no stages can be laid out by, as `check` would, which is a stage itself.

    DVC says it in words of its own, of dvc.yaml, and of others than the parameter.

    Raises:
        ReproduceError: what a template of dvc.yaml names is not there, or is no list of choices.
    """
    try:
        study = params.read()
        try:
            stages(study)
        except ConfigError:
            # Deferred: torch is not imported for a study that has nothing wrong. It knows a misspelt name, too.
            from pipeline.study import parse

            parse(study)
            raise
    except ConfigError as error:
        raise ReproduceError(str(error)) from error


def survey() -> tuple[dict[str, set[str]], dict[str, list[Any]]]:
    """Ask DVC for every stage's parents, and for the stages whose inputs or outputs changed, with what has.

    What lies downstream of a changed stage is not among the latter: its inputs did not change yet.

    Raises:
        ReproduceError: there are no stages to ask about, or DVC does not answer.
    """
    check_laid_out()
    with ThreadPoolExecutor() as pool:  # `dag` takes no lock, so the two can run together
        graph, status = pool.map(lambda arguments: ask(*arguments), [("dag", "--dot"), ("status", "--json")])
    return parse_dot(graph), json.loads(status)


def parse_dot(text: str) -> dict[str, set[str]]:
    """Read `dvc dag --dot`: every stage with the stages it depends on, in the order of dvc.yaml."""
    parents: dict[str, set[str]] = {}
    for names in (re.findall(r'"([^"]+)"', line) for line in text.splitlines()):
        for name in names:
            parents.setdefault(name, set())
        if len(names) == 2:
            parents[names[1]].add(names[0])
    return parents


def select(parents: dict[str, set[str]], targets: Sequence[str] | None) -> dict[str, set[str]]:
    """Keep the targets (stages, or groups such as `distill`) and all they depend on; no targets means everything."""
    pending = [] if targets else list(parents)
    for target in targets or ():
        named = [stage for stage in parents if target in (stage, stage.partition("@")[0])]
        if not named:
            groups = sorted({stage.partition("@")[0] for stage in parents})
            raise ReproduceError(f"targets: no stage or group called {target!r} (groups: {', '.join(groups)})")
        pending += named
    kept: set[str] = set()
    while pending:
        if (stage := pending.pop()) not in kept:
            kept.add(stage)
            pending.extend(parents[stage])
    return {stage: above for stage, above in parents.items() if stage in kept}


def heights(parents: dict[str, set[str]]) -> dict[str, int]:
    """Say how many stages follow each one on the longest way down. Of those that can begin, the highest is urgent."""
    found = dict.fromkeys(parents, 0)
    for stage in reversed([*TopologicalSorter(parents).static_order()]):
        for above in parents[stage]:
            found[above] = max(found[above], found[stage] + 1)
    return found


def on_gpu(stages: Iterable[str]) -> set[str]:
    """Keep the stages whose `meta.device` is gpu; templated stages are looked up by the part before the @."""
    written = params.read(Path("dvc.yaml"))["stages"]
    groups = {name for name, stage in written.items() if stage.get("meta", {}).get("device") == "gpu"}
    return {stage for stage in stages if stage.partition("@")[0] in groups}


def verdict(stage: str, said: Iterable[str]) -> str:
    """Name what `dvc repro` did with a stage. Wording unknown to us counts as a run: children then look again."""
    text = "\n".join(said)
    if f"'{stage}' didn't change, skipping" in text:
        return "Unchanged"
    return "Restored" if f"Stage '{stage}' is cached" in text else "Completed"


def is_advice(line: str) -> bool:
    """Return whether DVC says how Git and remote storage are used, as after every stage; that is no news of the run."""
    return line.strip().startswith(_ADVICE)


def environment(extra: dict[str, str]) -> dict[str, str]:
    """Ours, with `python` in a stage's command meaning the Python that runs us, and its output unbuffered."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1", "DVC_NO_ANALYTICS": "1", **extra}
