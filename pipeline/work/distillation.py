"""What distilling with and without a window share: read a state, distil its next segment, write the new state."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor

from dasm.errors import ConfigError
from dasm.images.store import read_split
from dasm.machine import ranks
from dasm.matching import Matching
from dasm.pieces import cut, merged
from dasm.plugins import build, modules_of
from dasm.segments import SegmentPlan, bounds, distil_segment
from dasm.storage import lineage
from dasm.storage.trajectories import Trajectories
from dasm.tables import read_chain, read_segment, read_window, segment_files
from dasm.train import Trainer
from dasm.types import LabelledImages, Segment
from pipeline import layout, methods, params
from pipeline.work import recipes, runtime, twins
from pipeline.work.states import write_state

# What the ledger says of a segment besides its cost.
_TOLD = ("iterations", "distances")


def run(stage: str, arm: str, k: int, *, windowed: bool) -> None:
    """Distil what follows state k of an arm, or take it over from an arm that has distilled the same.

    A joint arm distils the whole prefix anew: as many images and as many iterations as all segments up to k together.
    If it has scores, its table is that of state 0 at every state. Where its set is made once, that is the whole set,
    after state 0; what later states add of it lies ahead.

    Args:
        stage: name of the DVC stage.
        arm: its name.
        k: number of the segment, from 0.
        windowed: whether the arm has scores, and so a window; else every real image is kept.
    """
    study, device = runtime.start(splits=True)
    matching = methods.section(study, arm, "matching", Matching)
    joint = methods.is_joint(study, arm)
    plan = build(SegmentPlan, methods.distilled_plan(study, arm, k), f"segment.s{k}")
    seed, planned_ipc = params.value(study, "seed"), params.value(study, "planned_ipc")
    real = read_split(layout.REAL, "train", device)
    before, after = layout.distilled(arm, k), layout.distilled(arm, k + 1)
    chain = [] if joint else read_chain(segment_files(before))
    prefix = [segment for segment, _ in chain]
    weights, rank = read_window(layout.difficulty(arm, k)) if windowed else (torch.ones(len(real)), None)
    follows = matching.objective.needs_experts
    experts = recipes.followed(study, first=not prefix) if follows else None
    teaching = [] if experts is None else _teaching(experts)
    more = [planned_ipc, seed, device, params.value(study, "threads"), experts]
    work = _identity(matching, plan, real, prefix, weights, rank, more, teaching)
    name, resume = f"{stage}@{arm}-s{k}", runtime.checkpoint(f"{arm}-{k}", work)
    own_entry = f"{stage}-{arm}-{k}"
    with twins.sought(work, own_entry) as twin, runtime.ledger(stage, own_entry, arm=arm) as entry:
        if twin is not None:
            lower, upper = bounds(weights, rank, real)
            segment = replace(merged([read_segment(file) for file in twin.files]), lower=lower, upper=upper)
            twin.charge(entry, *_TOLD)
        else:
            with _naming(name, methods.place(study, arm, "matching")):
                segment, history = distil_segment(
                    matching,
                    plan,
                    real,
                    prefix,
                    weights=weights,
                    rank=rank,
                    planned_ipc=planned_ipc,
                    seed=seed,
                    experts=Trajectories(layout.experts(arm if prefix else "real", k)) if follows else (),
                    checkpoint=resume,
                    track=runtime.track(name),
                )
            entry |= _told(history)
        if ranks.number() > 0:
            return
        first, *rest = cut(segment, _sizes(study)) if methods.is_once(study, arm) else [segment]
        write_state(
            after,
            None if joint else before,
            first,
            real,
            arm=arm,
            recipe=recipes.distilled(study, arm, plan.ipc, plan.iterations, experts=experts),
            scores=None if rank is None else lineage.fingerprint("window", {"weights": weights, "rank": rank}),
            chain=chain,
            ahead=rest,
        )
        twins.record(entry, work, [after / f"s{first.index}.parquet", *segment_files(after / layout.AHEAD)])
    resume.remove()


def _sizes(study: Mapping[str, Any]) -> list[int]:
    # Not those of `pipeline.graph.sets`, which knows every coreset and score; the blueprint says them of such an arm.
    return [params.value(study, f"segment.s{link['k']}.ipc") for link in params.value(study, "chain")]


@contextmanager
def _naming(stage: str, block: str) -> Iterator[None]:
    try:
        yield
    except FloatingPointError as error:
        # Either may have done it, and a distance does not say which.
        networks = f"{block}.trainer.recipe.learning_rate where its networks learn"
        hint = f"a smaller {block}.learning_rate may help, or {networks}"
        raise ConfigError(f"{stage}: {error} ({hint})") from error
    except ConfigError as error:
        raise ConfigError(f"{stage}: {error}") from error


def _told(history: Tensor) -> Mapping[str, Any]:
    return {"iterations": len(history), "distances": [float(f"{value:.5g}") for value in history.tolist()]}


def _teaching(experts: Mapping[str, Any]) -> list[str]:
    """Return the modules that train such experts.

    Named, not imported: a segment that follows none does not depend on them.
    """
    return ["pipeline.work.experts", *modules_of(build(Trainer, experts["trainer"], "experts.trainer"))]


def _identity(
    matching: Matching,
    plan: SegmentPlan,
    real: LabelledImages,
    prefix: Sequence[Segment],
    weights: Tensor,
    rank: Tensor | None,
    more: Sequence[object],
    teaching: Sequence[str],
) -> str:
    """Return the hash of all that a segment depends on; experts are part of it by what they are trained on and how."""
    windowed = bool((weights != weights[0]).any())
    effective = matching.effective(prefix=bool(prefix), windowed=windowed)
    values, tensors = twins.described(prefix)
    return runtime.identity(
        asdict(plan),
        values,
        *more,
        parts=[effective],
        code=(__name__, *teaching),
        tensors=[real.images, real.labels, real.mean, real.std, weights, *tensors, *((rank,) if windowed else ())],
    )
