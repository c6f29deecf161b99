"""`python -m pipeline COMMAND [ARGUMENT]...`: the stages of dvc.yaml, and what drives them."""

import difflib
import importlib
import inspect
import os
import signal
import sys
import textwrap
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from dasm.errors import ConfigError
from pipeline.steady import steady

_INTERRUPTED = 128 + signal.SIGINT

#: By name: module, arguments, and what it is for. `check` is a stage too, the rest are none.
COMMANDS = {
    "check": ("pipeline.stages.check", "", "say within seconds what is wrong in params.yaml"),
    "study": ("pipeline.studies", "[NAME]", "list the studies, or put another one in force"),
    "plan": ("pipeline.plan", "SEGMENTS", "rewrite the blocks of params.yaml that say how many segments there are"),
    "reproduce": ("pipeline.drive", "[JOBS]", "what `dvc repro` does, so many stages at a time, seen in Prefect"),
    "serve": ("pipeline.drive", "", "offer that to the Prefect UI, whose Run button starts it"),
    "walk": ("pipeline.walk", "[MINUTES] [JOBS]", "the stages on a machine without DVC; goes on when called again"),
    "export": ("pipeline.export", "ARM FOLDER [IPC]", "hand a distilled set on: Parquet, safetensors, PNG, a card"),
    "repeat": (
        "pipeline.repeat",
        "ROOTS [JOBS]",
        "the study from so many root seeds, so many at a time, and their table",
    ),
    "roots": ("pipeline.roots", "FOLDER TABLE TABLE...", "one table of a study that was done from several root seeds"),
}


def main(arguments: list[str]) -> int:
    """Run one command; return the exit code: 0, 1 after one line on what is wrong with the input, 130 if stopped."""
    stages = sorted(file.stem for file in (Path(__file__).parent / "stages").glob("[!_]*.py"))
    if arguments[:1] in (["-h"], ["--help"], ["help"]):
        print(_usage(stages))
        return 0
    if not arguments:
        print(
            f"usage: python -m pipeline {'|'.join(COMMANDS)} ... (`python -m pipeline help` says more)", file=sys.stderr
        )
        return 1
    if arguments[0] not in {*stages, *COMMANDS}:
        near = difflib.get_close_matches(arguments[0], [*COMMANDS, *stages], n=1)
        hint = f"did you mean {near[0]!r}?" if near else "`python -m pipeline help` lists them"
        print(f"error: no command called {arguments[0]!r}; {hint}", file=sys.stderr)
        return 1
    name, *rest = arguments
    # Read by OpenMP when torch is imported: threads that wait sleep. Spinning ones made two threads eight times slower
    # than one on a busy two-core machine (benchmarks/README.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    function = getattr(importlib.import_module(COMMANDS.get(name, (f"pipeline.stages.{name}",))[0]), _entry(name))
    signature = inspect.signature(function)
    try:
        given = signature.bind(*rest)
    except TypeError as error:
        print(f"python -m pipeline {name}: {error}", file=sys.stderr)
        return 1
    try:
        for key, text in given.arguments.items():
            if signature.parameters[key].annotation is int:
                given.arguments[key] = _number(text, key)
        with steady() if name in stages and name not in COMMANDS else nullcontext():
            function(*given.args, **given.kwargs)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except FileNotFoundError as error:
        if not str(error.filename).startswith("data/"):
            raise
        print(f"error: {error.filename}: no such file (`dvc repro` makes what a stage reads)", file=sys.stderr)
        return 1
    return 0


def _usage(stages: Sequence[str]) -> str:
    rows = [(f"{name} {arguments}", what) for name, (_, arguments, what) in COMMANDS.items()]
    width = max(len(call) for call, _ in rows)
    others = ", ".join(stage for stage in stages if stage not in COMMANDS)
    return "\n".join(
        [
            "usage: python -m pipeline COMMAND [ARGUMENT]...",
            "",
            *(f"  {call:{width}}   {what}" for call, what in rows),
            "",
            *textwrap.wrap(f"Stages, which DVC calls: {others}.", 100),
            "docs/running.md says more.",
        ]
    )


def _number(text: str, name: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"{name}: must be a number from 0, got {text!r}")
    return int(text)


def _entry(name: str) -> str:
    return name if name in ("reproduce", "serve") else "main"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
