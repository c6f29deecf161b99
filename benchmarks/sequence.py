"""What difficulty costs: the method of the study in force, its evaluators and scores included, against joint matching.

Both make the same images with the same number of pixel updates, in this process, with the study's number of threads.
What the pipeline adds, the start of its stages, is measured in `benchmarks.stages`.
"""

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.measure import Row, compare
from dasm.data import Dataset
from dasm.evaluators import Evaluators
from dasm.images.prepare import write_source
from dasm.images.store import read_split
from dasm.matching import Matching
from dasm.plugins import build
from dasm.segments import SegmentPlan
from dasm.selection import Selection
from dasm.sequential import Sequential
from dasm.types import LabelledImages

_READABLE = find_spec("ruamel") and find_spec("pipeline")


def name() -> str:
    """Return what the case is called: each study is a case of its own."""
    if not _READABLE:
        return "sequence"
    from pipeline import params

    return f"sequence:{params.read()['study']}"


def rows(repeats: int, device: str) -> list[Row]:
    """Measure the study of `params.yaml`, where the parameters can be read."""
    if not _READABLE:
        return []
    from pipeline import methods, params

    study = params.read()
    arm = params.value(study, "arms")[0]
    plans = [
        build(SegmentPlan, methods.plan(study, arm, link["k"]), "segment") for link in params.value(study, "chain")
    ]
    whole = Sequential(
        matching=methods.section(study, arm, "matching", Matching),
        evaluators=methods.section(study, arm, "evaluator", Evaluators),
        selection=methods.section(study, arm, "selection", Selection),
        planned_ipc=params.value(study, "planned_ipc"),
    )
    joint = [SegmentPlan(ipc=sum(plan.ipc for plan in plans), iterations=sum(plan.iterations for plan in plans))]
    real, seed = _real(study).to(device), params.value(study, "seed")

    def made(method: Sequential, segments: Sequence[SegmentPlan]) -> None:
        for _ in method.distil(real, segments, seed):
            pass

    threads = torch.get_num_threads()
    torch.set_num_threads(params.value(study, "threads"))
    row = compare(
        f"sequence {study['study']}",
        {
            "ours": lambda: made(whole, plans),
            "no scores": lambda: made(replace(whole, selection=None), plans),
            "joint": lambda: made(replace(whole, selection=None), joint),
        },
        repeats=repeats,
        device=device,
    )
    torch.set_num_threads(threads)
    cost = median(row.ways["ours"].seconds) / median(row.ways["joint"].seconds)
    return [replace(row, note=f"{joint[0].iterations} iterations in {len(plans)} segments: {cost:.2f} x joint")]


def _real(study: dict[str, Any]) -> LabelledImages:
    with TemporaryDirectory() as folder:
        place = Path(folder) / "real"
        write_source(place, build(Dataset, study["data"], "data").open(study["seed"]))
        return read_split(place, "train", "cpu")
