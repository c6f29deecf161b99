"""Score every real image with the evaluators of one state, and choose the window of the next segment."""

from dasm.evaluators import Evaluators
from dasm.selection import Selection
from dasm.store import read_split
from dasm.tables import read_networks, write_difficulty
from pipeline import layout, params, runtime
from pipeline.states import read_summary


def main(arm: str, state: str) -> None:
    """Make `data/difficulty/<arm>/<state>.parquet`."""
    study, device = runtime.start()
    evaluators = params.section(study, Evaluators, "evaluator")
    selection = params.section(study, Selection, "selection")
    with runtime.ledger("score", f"score-{arm}-{state}", arm=arm):
        real = read_split(layout.REAL, "train", device)
        networks = read_networks(
            layout.evaluators(arm, int(state)),
            lambda: evaluators.trainer.start(real, 0).network,
            evaluators.networks,
            evaluators.snapshots,
        )
        prefix_ipc = read_summary(layout.distilled(arm, int(state)))["images_per_class"]
        planned_ipc = params.value(study, "planned_ipc")
        difficulty, weights = selection.choose(real, networks, prefix_ipc=prefix_ipc, planned_ipc=planned_ipc)
        meta = {"arm": arm, "state": int(state), "prefix_ipc": prefix_ipc}
        write_difficulty(layout.difficulty(arm, int(state)), difficulty, weights, meta)
