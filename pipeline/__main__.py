"""`python -m pipeline <command> [arguments]`: the stages of dvc.yaml, and what drives them.

Commands: check; plan K; study [NAME]; export ARM FOLDER [IPC]; reproduce [JOBS]; serve; walk [MINUTES] [JOBS];
roots FOLDER TABLE TABLE ...; and the stages of dvc.yaml, which DVC calls.
"""

import importlib
import inspect
import os
import sys
from pathlib import Path

from dasm.errors import ConfigError

_OTHERS = {
    "plan": "pipeline.plan",
    "study": "pipeline.studies",
    "export": "pipeline.export",
    "reproduce": "pipeline.drive",
    "serve": "pipeline.drive",
    "walk": "pipeline.walk",
    "roots": "pipeline.roots",
}


def main(arguments: list[str]) -> int:
    """Run one command; return the exit code: 0, or 1 after one line that says what is wrong with the input."""
    stages = sorted(file.stem for file in (Path(__file__).parent / "stages").glob("[!_]*.py"))
    if not arguments or arguments[0] not in {*stages, *_OTHERS}:
        print(f"usage: python -m pipeline <{'|'.join([*_OTHERS, *stages])}> [arguments]", file=sys.stderr)
        return 1
    name, *rest = arguments
    # Read by OpenMP when torch is imported: threads that wait sleep. Spinning ones made two threads eight times slower
    # than one on a busy two-core machine (benchmarks/README.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    function = getattr(importlib.import_module(_OTHERS.get(name, f"pipeline.stages.{name}")), _entry(name))
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
        function(*given.args, **given.kwargs)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except FileNotFoundError as error:
        if not str(error.filename).startswith("data/"):
            raise
        print(f"error: {error.filename}: no such file (`dvc repro` makes what a stage reads)", file=sys.stderr)
        return 1
    return 0


def _number(text: str, name: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"{name}: must be a number from 0, got {text!r}")
    return int(text)


def _entry(name: str) -> str:
    return name if name in ("reproduce", "serve") else "main"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
