"""What DVC costs: a run with nothing to do, and a stage before it does anything."""

import shutil
import subprocess
import sys
import time
from importlib.util import find_spec

from benchmarks.measure import Measured, Row

_STAGE = "import pipeline.stages.{0}; from pipeline.work import runtime; runtime.start()"


def rows(repeats: int) -> list[Row]:
    """Measure what there is: without DVC nothing, without a finished study no empty run."""
    found = []
    if find_spec("pipeline") and find_spec("dvc"):
        for stage in ("score", "distill"):
            command = [sys.executable, "-c", _STAGE.format(stage)]
            found.append(
                Row(case=f"stage {stage}", note="imports and set-up alone", ways={"ours": _run(command, repeats)})
            )
    dvc = shutil.which("dvc")
    if dvc and "Data and pipelines are up to date" in _output([dvc, "status"]):
        found.append(Row(case="dvc repro", note="nothing to do", ways={"ours": _run([dvc, "repro"], repeats)}))
    return found


def _run(command: list[str], repeats: int) -> Measured:
    measured = Measured()
    for _ in range(repeats + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        measured.seconds.append(time.perf_counter() - start)
    del measured.seconds[0]  # read from disk, not from its cache
    return measured


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout
