"""`python -m pipeline repeat ROOTS [JOBS]`: the study in force from several root seeds, and one table of them all.

The workspace is brought up to date first and stays the study's own. Every other root seed is done in a copy of it under
`.checkpoints/roots/`, which shares DVC's cache: what a root seed has done once, here or there, is done, and a call that
was interrupted goes on. The tables are kept in `reports/<study>/roots/`, the summary is that of `pipeline roots`.
"""

import os
import shutil
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from ruamel.yaml import YAML

from dasm.errors import require
from dasm.storage.files import write_atomically
from pipeline import params, roots
from pipeline.drivers import procs
from pipeline.graph import dag
from pipeline.graph.dag import ReproduceError
from pipeline.graph.templates import stages
from pipeline.reporting import held

_COPIES = Path(".checkpoints/roots")
_CODE = _COPIES / "code"
_FOLDERS = ("dasm", "pipeline")
_FILES = ("dvc.yaml", "dvc.lock", ".dvcignore")
_LAST = 5  # lines of a run that failed


def main(number: int, jobs: int = 1) -> None:
    """Do the study from so many root seeds: its own, and those that follow it by number.

    Args:
        number: of root seeds.
        jobs: root seeds at a time.

    Raises:
        ConfigError: an argument out of range; a root seed that failed, by the last lines of what it said.
    """
    require(number >= 2, "repeat: the number of root seeds must be >= 2", number)
    require(jobs >= 1, "repeat: jobs must be >= 1", jobs)
    dag.check_laid_out()
    study = params.read()
    own, report = params.value(study, "seed"), Path("reports") / str(params.value(study, "study"))
    with procs.only_driver(), closing(procs.Children()) as children:
        _reproduce(children, Path(), f"root seed {own}")  # which checks the parameters, this number among them
        # Taken once: an edit while root seeds are done would be made a part of those that begin after it.
        shutil.rmtree(_CODE, ignore_errors=True)
        for name in _FOLDERS:
            shutil.copytree(name, _CODE / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in filter(os.path.exists, _FILES):
            shutil.copyfile(name, _CODE / name)
        seeds = range(own + 1, own + number)
        _all(seeds, report, study, children, jobs)
    shutil.rmtree(_COPIES)
    roots.main(str(report), str(report / "table.csv"), *(str(_table(report, seed)) for seed in seeds), told_apart=True)


def _all(seeds: range, report: Path, study: Mapping[str, Any], children: procs.Children, jobs: int) -> None:
    free: SimpleQueue[Path] = SimpleQueue()
    for job in range(jobs):
        free.put(_COPIES / str(job))
    config = _config(Path(dag.ask("cache", "dir").strip()).resolve())

    def repeat(seed: int) -> None:
        if children.closed:
            return
        copy = free.get()
        try:
            _copy(copy, {**study, "seed": seed}, config)
            _reproduce(children, copy, f"root seed {seed}")
            _keep(copy, report, seed)
        except BaseException:
            # At once, here: this thread would begin the next one before anybody else hears of it.
            ended = children.closed
            children.close()
            if not ended:  # else by one that failed before, which is the one to name
                raise
        finally:
            free.put(copy)  # or whoever comes next would wait for ever

    with ThreadPoolExecutor(jobs) as pool:
        runs = [pool.submit(repeat, seed) for seed in seeds]
        try:
            for run in as_completed(runs):
                run.result()
        except BaseException:
            children.close()  # what still runs ends, and nothing more begins
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _reproduce(children: procs.Children, folder: Path, name: str) -> None:
    _say(f"{name} …")
    begun, said = time.monotonic(), deque[str](maxlen=_LAST)
    status = children.run([*dag.DVC, "--cd", str(folder), "repro"], {}, said.append)
    if status:
        raise ReproduceError(f"{name}: exit status {status}: {' | '.join(said)}")
    _say(f"{name}: {time.monotonic() - begun:.0f} s")


def _say(line: str) -> None:
    print(f"{line}\n", end="", flush=True)  # in one piece, because several root seeds speak


def _copy(folder: Path, study: Mapping[str, Any], config: str) -> None:
    """Make a DVC project of the code as it is here, with its own parameters and the inputs that lie here."""
    for name in _FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
    shutil.copytree(_CODE, folder, dirs_exist_ok=True)
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(dict(study), file)
    (folder / ".dvc").mkdir(exist_ok=True)
    shutil.copyfile(".dvc/config", folder / ".dvc/config")
    (folder / ".dvc/config.local").write_text(config, encoding="utf-8")
    made = {Path(out).parts[1] for stage in stages(study) for out in stage.outs if Path(out).parts[0] == "data"}
    inputs = [entry for entry in Path("data").iterdir() if entry.name not in made]
    inputs += [entry for entry in Path().iterdir() if not entry.name.startswith(".")]
    for entry in inputs:
        if entry.name not in ("data", "reports", *_FOLDERS, *_FILES, "params.yaml"):
            (folder / entry).parent.mkdir(exist_ok=True)
            (folder / entry).unlink(missing_ok=True)
            (folder / entry).symlink_to(entry.absolute())


def _config(cache: Path) -> str:
    # No Git: the copy is inside a repository that ignores it.
    # Quoted, because a path may hold what divides a list or begins a comment.
    quote = "'" if '"' in str(cache) else '"'
    return f"[core]\n    no_scm = true\n[cache]\n    dir = {quote}{cache}{quote}\n"


def _keep(copy: Path, report: Path, seed: int) -> None:
    kept = _table(report, seed)
    holdings = copy / held.beside(report / "table.csv")
    if holdings.is_file():
        write_atomically(held.beside(kept), lambda path: shutil.copyfile(holdings, path))
    write_atomically(kept, lambda path: shutil.copyfile(copy / report / "table.csv", path))


def _table(report: Path, seed: int) -> Path:
    return report / "roots" / f"table-{seed}.csv"
