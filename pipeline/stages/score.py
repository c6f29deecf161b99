"""Score every real image with the evaluators of one state, and choose the window of the next segment."""

from dasm.evaluators import Evaluators
from dasm.selection import Selection
from dasm.store import read_split
from dasm.tables import read_difficulty, read_networks, write_difficulty
from pipeline import layout, params, runtime
from pipeline.states import read_summary


def main(arm: str, state: str) -> None:
    """Make `data/difficulty/<arm>/<state>.parquet`."""
    study, device = runtime.start()
    evaluators = params.section(study, Evaluators, "evaluator")
    selection = params.section(study, Selection, "selection")
    number = int(state)
    with runtime.ledger("score", f"score-{arm}-{state}", arm=arm):
        real = read_split(layout.REAL, "train", device)
        teachers, networks = (
            read_networks(
                folder,
                lambda: evaluators.trainer.start(real, 0).network,
                evaluators.networks,
                evaluators.snapshots,
            )
            for folder in (layout.TEACHERS, layout.evaluators(arm, number))
        )
        prefix_ipc = read_summary(layout.distilled(arm, number))["images_per_class"]
        difficulty, weights = selection.choose(
            real,
            networks,
            reference=[snapshots[-1] for snapshots in teachers] if number else (),
            first=read_difficulty(layout.difficulty(arm, 0)) if number else None,
            segments=number,
            prefix_ipc=prefix_ipc,
            planned_ipc=params.value(study, "planned_ipc"),
            seed=params.value(study, "seed"),
        )
        meta = {"arm": arm, "state": number, "prefix_ipc": prefix_ipc}
        write_difficulty(layout.difficulty(arm, number), difficulty, weights, meta)
