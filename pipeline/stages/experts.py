"""Train the experts of one state: on its window, from networks trained on the segments so far."""

import torch

from dasm.experts import Experts
from dasm.matching import Matching
from dasm.segments import decoded
from dasm.store import read_split
from dasm.tables import read_segments, read_window
from dasm.trajectories import write_trajectories
from pipeline import layout, params, runtime


def main(arm: str, k: str) -> None:
    """Make `data/experts/<arm>/<k>`, or for the joint arms `data/experts/real`: from scratch, on all real images."""
    study, device = runtime.start()
    experts, seed = params.section(study, Experts, "experts"), params.value(study, "seed")
    matching = params.section(study, Matching, "matching")
    with runtime.ledger("experts", f"experts-{arm}-{k}", arm="" if arm == "real" else arm):
        real = read_split(layout.REAL, "train", device)
        scored = arm in params.value(study, "arms")
        weights = read_window(layout.difficulty(arm, int(k)))[0] if scored else torch.ones(len(real))
        segments = [] if arm == "real" else read_segments(layout.distilled(arm, int(k)))
        prefix = decoded(segments, real) if segments else None
        trajectories = experts.train(real, matching.matched(weights), int(k), seed, prefix)
        count = write_trajectories(layout.experts(arm, int(k)), trajectories)
    runtime.log.info("%d experts of %d epochs", count, experts.epochs)
