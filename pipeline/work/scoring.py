"""Score every real image with the evaluators of one state, and choose the window of the next segment."""

from dasm.difficulty import measure
from dasm.evaluators import Evaluators, trained
from dasm.images.store import read_split
from dasm.selection import Selection
from dasm.tables import read_difficulty, write_difficulty
from pipeline import layout, methods, params
from pipeline.graph import sets
from pipeline.work import runtime, twins
from pipeline.work.networks import read_networks, tensors_of
from pipeline.work.states import read_summary


def run(arm: str, state: int) -> None:
    """Make `data/difficulty/<arm>/<state>.parquet`; the scores may be those of an arm with the same networks."""
    study, device = runtime.start()
    shared = params.section(study, Evaluators, "evaluator")
    selection = methods.section(study, arm, "selection", Selection)
    path = layout.difficulty(arm, state)
    real = read_split(layout.REAL, "train", device)
    networks = teachers = read_networks(layout.TEACHERS, shared, real)
    own = methods.section(study, arm, "evaluator", Evaluators) if state else shared
    if state:
        networks = read_networks(layout.evaluators(arm, state), own, real)
    reference = trained(teachers) if state else []
    every = [network for snapshots in networks for network in snapshots]
    images = [real.images, real.labels, real.mean, real.std, *(() if real.origin is None else (real.origin,))]
    given = sets.settled(arm, "selection", selection.score)
    work = runtime.identity(
        [len(snapshots) for snapshots in networks],
        given,
        study["threads"],
        device,
        parts=[selection.score, shared.trainer, own.trainer],
        code=(__name__,),
        tensors=[*images, *tensors_of([*every, *reference])],
    )
    own_entry = f"score-{arm}-{state}"
    with twins.sought(work, own_entry) as twin, runtime.ledger("score", own_entry, arm=arm) as entry:
        if twin is not None:
            difficulty = read_difficulty(twin.files[0])
            twin.charge(entry)
        else:
            difficulty = measure(real, networks, selection.score, reference)
        prefix_ipc = read_summary(layout.distilled(arm, state))["images_per_class"]
        first = layout.difficulty(arm, 0)
        weights = selection.weigh(
            difficulty,
            first=read_difficulty(first) if state else None,
            segments=state,
            prefix_ipc=prefix_ipc,
            planned_ipc=params.value(study, "planned_ipc"),
            seed=params.value(study, "seed"),
        )
        meta = {"arm": arm, "state": state, "prefix_ipc": prefix_ipc}
        write_difficulty(path, difficulty, weights, meta)
        twins.record(entry, work, [path])
