"""What distilling with and without a window share: read a state, distil its next segment, write the new state."""

from dataclasses import asdict

import torch
from torch import Tensor

from dasm import ranks
from dasm.errors import ConfigError
from dasm.footprint import footprint
from dasm.lineage import fingerprint
from dasm.matching import Matching
from dasm.plugins import build
from dasm.segments import SegmentPlan, distil_segment
from dasm.store import read_split
from dasm.tables import read_segments
from dasm.trajectories import Trajectories
from pipeline import layout, methods, params, recipes, runtime
from pipeline.states import read_summary, write_state


def run(stage: str, arm: str, k: int, *, weights: Tensor | None, rank: Tensor | None, joint: bool = False) -> None:
    """Distil what follows state k of an arm.

    A joint arm distils the whole prefix anew: as many images and as many iterations as all segments up to k together.

    Args:
        stage: name of the DVC stage.
        arm: its name.
        k: number of the segment, from 0.
        weights: of the window; None keeps every real image.
        rank: rank fractions behind the window, or None.
        joint: forget the segments so far, but not their size and effort.
    """
    study, device = runtime.start(splits=True)
    matching = methods.section(study, arm, "matching", Matching)
    plan = build(SegmentPlan, methods.plan(study, arm, k), f"segment.s{k}")
    seed, planned_ipc = params.value(study, "seed"), params.value(study, "planned_ipc")
    real = read_split(layout.REAL, "train", device)
    before = layout.distilled(arm, k)
    prefix = [] if joint else read_segments(before)
    if joint:
        spent = read_summary(before)
        plan = SegmentPlan(ipc=spent["images_per_class"] + plan.ipc, iterations=spent["iterations"] + plan.iterations)
    weights = torch.ones(len(real)) if weights is None else weights
    follows = matching.objective.needs_experts
    experts = Trajectories(layout.experts(arm if prefix else "real", k)) if follows else ()
    inputs = [real.images, real.labels, weights, *(segment.images for segment in prefix)]
    resume = runtime.checkpoint(
        f"{arm}-{k}",
        methods.block(study, arm, "matching"),
        study["experts"] if follows else None,
        plan.ipc,
        plan.iterations,
        planned_ipc,
        seed,
        device,
        tensors=inputs,
    )
    name = f"{stage}@{arm}-s{k}"
    with runtime.ledger(stage, f"{stage}-{arm}-{k}", arm=arm) as entry:
        try:
            segment, history = distil_segment(
                matching,
                plan,
                real,
                prefix,
                weights=weights,
                rank=rank,
                planned_ipc=planned_ipc,
                seed=seed,
                experts=experts,
                checkpoint=resume,
                track=runtime.track(name),
            )
        except FloatingPointError as error:
            raise ConfigError(f"{name}: {error} (a smaller matching.learning_rate may help)") from error
        entry["iterations"] = len(history)
        entry["distances"] = [float(f"{value:.5g}") for value in history.tolist()]
        if segment.soft_labels is not None:
            entry["bytes"] = asdict(footprint([segment]))
    if ranks.number() > 0:
        return
    folder = layout.distilled(arm, k + 1)
    write_state(
        folder,
        None if joint else before,
        segment,
        real,
        arm=arm,
        recipe=recipes.distilled(study, arm, plan.ipc, plan.iterations, experts=follows),
        scores=None if rank is None else fingerprint("window", {"weights": weights, "rank": rank}),
    )
    resume.remove()
