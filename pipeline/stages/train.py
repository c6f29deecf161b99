"""Train the evaluators of one state on all segments so far."""

from dasm.evaluators import Evaluators, trained
from dasm.segments import decoded_parts
from dasm.store import read_split
from dasm.tables import read_segments, write_networks
from pipeline import layout, methods, params, runtime
from pipeline.networks import read_networks


def main(arm: str, state: str) -> None:
    """Make `data/evaluators/<arm>/<state>`."""
    study, device = runtime.start()
    evaluators = methods.section(study, arm, "evaluator", Evaluators)
    with runtime.ledger("train", f"train-{arm}-{state}", arm=arm):
        real = read_split(layout.REAL, "train", device)
        segments = read_segments(layout.distilled(arm, int(state)))
        warm = evaluators.start == "warm" and int(state) >= 2
        before = read_networks(layout.evaluators(arm, int(state) - 1), evaluators, real) if warm else []
        networks = evaluators.train(
            decoded_parts(segments, real), int(state), params.value(study, "seed"), previous=trained(before)
        )
        write_networks(layout.evaluators(arm, int(state)), networks)
