"""`python -m pipeline study [NAME]`: put another study in force, or list those there are.

The study in force is params.yaml with its dvc.lock. The others are parked in `studies/<name>/`. Changing over parks the
one and takes out the other, then lets DVC check out the artefacts that its lock names; nothing leaves DVC's cache,
as long as nobody calls `dvc gc`, which knows the study in force alone.
"""

import shutil
import subprocess
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

from dasm.errors import ConfigError, require
from pipeline import params
from pipeline.drivers import procs
from pipeline.graph.dag import DVC
from pipeline.names import NAME_RULE, is_name

_PARKED = Path("studies")
_FILES = ("params.yaml", "dvc.lock")


def main(name: str | None = None) -> None:
    """Put the study `name` in force; without a name, list all.

    Raises:
        ConfigError: no such study, a driver at work, or artefacts that cannot be checked out.
    """
    current = str(params.value(params.read(), "study"))
    parked = sorted(file.parent.name for file in _PARKED.glob("*/params.yaml"))
    if name is None or name == current:
        print("\n".join([f"* {current}", *(f"  {other}" for other in parked)]))
        return
    if name not in parked:
        raise ConfigError(f"study: must be one of {', '.join([current, *parked])}, got {name!r}")
    taken = [str(_PARKED / current / file) for file in _FILES if (_PARKED / current / file).exists()]
    if taken:
        raise ConfigError(
            f"study: {current} is in force and must not be parked too, got {taken[0]} (rename one of the two)"
        )
    if not is_name(current):
        raise ConfigError(f"params.yaml: study must be {NAME_RULE}, got {current!r}")
    found = params.value(params.read(_PARKED / name / "params.yaml"), "study")
    if found != name:
        raise ConfigError(f"studies/{name}/params.yaml: study must be {name}, got {found}")
    dvc = Path(".dvc").is_dir() and find_spec("dvc") is not None  # a machine for `walk` has the first at most
    with procs.only_driver() if dvc else nullcontext():
        for file in _FILES:
            _move(Path(file), _PARKED / current / file)
            _move(_PARKED / name / file, Path(file))
        if not any((_PARKED / name).iterdir()):  # notes that somebody has laid beside it stay
            (_PARKED / name).rmdir()
        print(f"{name} is in force, {current} is parked in studies/{current}", flush=True)
        if dvc and Path("dvc.lock").exists():
            # A clone without the other study's cache misses files here; `dvc repro` makes them again.
            status = subprocess.run([*DVC, "checkout", "--force", "--allow-missing"], check=False).returncode
            hint = "what it says is above; once that is mended, `dvc checkout --force --allow-missing` again"
            require(status == 0, f"study: dvc must check out the artefacts of {name}", f"exit status {status}", hint)


def _move(source: Path, target: Path) -> None:
    if source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, target)
