"""Score every real image with the evaluators of one state, and choose the window of the next segment."""

from dasm.evaluators import Evaluators
from dasm.selection import Selection
from dasm.store import read_split
from dasm.tables import read_difficulty, write_difficulty
from pipeline import layout, methods, params, runtime
from pipeline.networks import read_networks
from pipeline.states import read_summary


def main(arm: str, state: str) -> None:
    """Make `data/difficulty/<arm>/<state>.parquet`."""
    study, device = runtime.start()
    shared = params.section(study, Evaluators, "evaluator")
    selection = methods.section(study, arm, "selection", Selection)
    number = int(state)
    with runtime.ledger("score", f"score-{arm}-{state}", arm=arm):
        real = read_split(layout.REAL, "train", device)
        teachers = read_networks(layout.TEACHERS, shared, real)
        networks = teachers
        if number:
            own = methods.section(study, arm, "evaluator", Evaluators)
            networks = read_networks(layout.evaluators(arm, number), own, real)
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
