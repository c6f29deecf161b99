"""The experts of one state: trained on its window, from networks trained on the segments so far."""

import torch

from dasm.experts import Experts
from dasm.images.store import read_split
from dasm.matching import Matching
from dasm.segments import decoded
from dasm.storage.trajectories import write_trajectories
from dasm.tables import read_segments, read_window
from pipeline import layout, methods, params
from pipeline.work import runtime


def run(arm: str, k: int) -> None:
    """Make the trajectories of state k of an arm, or of `real`: from scratch, on all real images."""
    study, device = runtime.start()
    experts, seed = params.section(study, Experts, "experts"), params.value(study, "seed")
    folder, shared = layout.experts(arm, k), arm == "real"
    with runtime.ledger("experts", f"experts-{arm}-{k}", arm="" if shared else arm):
        real = read_split(layout.REAL, "train", device)
        weights = torch.ones(len(real))
        if not shared:
            window, _ = read_window(layout.difficulty(arm, k))
            weights = methods.section(study, arm, "matching", Matching).matched(window)
        segments = [] if shared else read_segments(layout.distilled(arm, k))
        prefix = decoded(segments, real) if segments else None
        count = write_trajectories(folder, experts.train(real, weights, k, seed, prefix))
    runtime.log.info("%d experts of %d epochs", count, experts.epochs)
