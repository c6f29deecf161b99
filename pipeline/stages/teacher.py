"""State 0: train the first evaluators, briefly, on real images."""

from dasm.evaluators import Evaluators
from dasm.images.store import read_split
from dasm.storage.networks import write_networks
from pipeline import layout, params
from pipeline.work import runtime


def main() -> None:
    """Make `data/evaluators/real`."""
    study, device = runtime.start()
    evaluators = params.section(study, Evaluators, "evaluator")
    with runtime.ledger("teacher", "teacher"):
        real = read_split(layout.REAL, "train", device)
        write_networks(layout.TEACHERS, evaluators.train([real], 0, params.value(study, "seed")))
