"""Train the evaluators of one state on all segments so far."""

from dasm.evaluators import Evaluators
from dasm.segments import decoded_parts
from dasm.store import read_split
from dasm.tables import read_segments, write_networks
from pipeline import layout, params, runtime


def main(arm: str, state: str) -> None:
    """Make `data/evaluators/<arm>/<state>`."""
    study, device = runtime.start()
    evaluators = params.section(study, Evaluators, "evaluator")
    with runtime.ledger("train", f"train-{arm}-{state}", arm=arm):
        real = read_split(layout.REAL, "train", device)
        segments = read_segments(layout.distilled(arm, int(state)))
        networks = evaluators.train(decoded_parts(segments, real), int(state), params.value(study, "seed"))
        write_networks(layout.evaluators(arm, int(state)), networks)
