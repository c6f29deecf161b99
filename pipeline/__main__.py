"""`python -m pipeline COMMAND [ARGUMENT]...`: the stages of dvc.yaml, and what drives them."""

import ctypes
import difflib
import errno
import importlib
import inspect
import os
import select
import signal
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

from dasm.errors import ConfigError
from pipeline.graph.steady import steady

_INTERRUPTED = 128 + signal.SIGINT
_PR_SET_PDEATHSIG = 1
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
#: Commands that start processes, which are not to outlive them.
_DRIVERS = ("reproduce", "repeat", "walk")

#: By name: module and, if not `main`, function; arguments; what it is for. `check` is a stage too, the rest are none.
COMMANDS = {
    "check": ("pipeline.stages.check", "", "say within seconds what is wrong in params.yaml"),
    "stale": ("pipeline.stale", "", "say which stages `dvc repro` would run, why, and how long they took last time"),
    "parts": (
        "pipeline.parts",
        "[KIND|NAME]",
        "list what params.yaml may name: objectives, windows, scores, …, and their options",
    ),
    "study": ("pipeline.studies", "[NAME]", "list the studies, or put another one in force"),
    "plan": ("pipeline.plan", "SEGMENTS", "rewrite the blocks of params.yaml that say how many segments there are"),
    "reproduce": (
        "pipeline.drivers.drive:reproduce",
        "[JOBS] [TARGET]...",
        "what `dvc repro` does, so many stages at a time, seen in Prefect",
    ),
    "serve": ("pipeline.drivers.drive:serve", "", "offer that to the Prefect UI, whose Run button starts it"),
    "walk": (
        "pipeline.drivers.walk",
        "[MINUTES] [JOBS]",
        "the stages on a machine without DVC; goes on when called again",
    ),
    "export": ("pipeline.export", "ARM FOLDER [IPC]", "hand a distilled set on: Parquet, safetensors, PNG, a card"),
    "repeat": (
        "pipeline.drivers.repeat",
        "ROOTS [JOBS]",
        "the study from so many root seeds, so many at a time, and their table",
    ),
    "latex": ("pipeline.latex", "[STUDY]", "the tables of all reports, or one, for a paper: reports/<study>/table.tex"),
    "site": ("pipeline.site", "", "one page over all reports, reports/index.html"),
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
    if name in stages:
        _die_with_parent()
    if name in _DRIVERS:
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:  # under nohup, SIGHUP goes on meaning nothing
                signal.signal(number, signal.default_int_handler)
    function = entry(name)
    signature = inspect.signature(function)
    if {"-h", "--help"} & {*rest}:
        print(f"usage: {_call(name, signature)}\n\n{inspect.getdoc(function)}")
        return 0
    try:
        given = signature.bind(*rest)
    except TypeError as error:
        print(f"error: {error} (usage: {_call(name, signature)})", file=sys.stderr)
        return 1
    try:
        for key, text in given.arguments.items():
            if signature.parameters[key].annotation is int:
                given.arguments[key] = _number(text, key)
        with steady(arguments) if name in stages and name not in COMMANDS else nullcontext():
            function(*given.args, **given.kwargs)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        if not _unread():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python says so when it ends
        return 1
    except OSError as error:
        if error.errno in _UNWRITABLE:
            what = f"{error.filename or name}: must be readable and writable, got {error.strerror}"
        elif isinstance(error, FileNotFoundError) and str(error.filename).startswith("data/"):
            what = f"{error.filename}: no such file (`dvc repro` makes what a stage reads)"
        else:
            raise
        print(f"error: {ConfigError(what)}", file=sys.stderr)
        return 1
    return 0


def _unread() -> bool:
    """Say whether whoever read our output has seen enough (`| head`); other pipes break as well."""
    watch = select.poll()
    watch.register(1, select.POLLOUT)
    return any(event & select.POLLERR for _, event in watch.poll(0))


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


def _call(name: str, signature: inspect.Signature) -> str:
    stage = " ".join(parameter.upper() for parameter in signature.parameters)
    return f"python -m pipeline {name} {COMMANDS[name][1] if name in COMMANDS else stage}".rstrip()


def _number(text: str, name: str) -> int:
    if not text.isdecimal():
        raise ConfigError(f"{name}: must be a number from 0, got {text!r}")
    return int(text)


def entry(name: str) -> Callable[..., None]:
    """Return the function of a command or a stage."""
    module, _, function = COMMANDS.get(name, (f"pipeline.stages.{name}",))[0].partition(":")
    found: Callable[..., None] = getattr(importlib.import_module(module), function or "main")
    return found


def _die_with_parent() -> None:
    """A stage whose dvc was killed would go on and write the same files as its successor."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it was killed in between, and nobody will say so
            signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
