"""Train the evaluators of one state on all segments so far."""

import shutil

from dasm.evaluators import Evaluators, trained
from dasm.images.store import read_split
from dasm.segments import shown_parts
from dasm.storage.networks import write_networks
from dasm.tables import read_segments
from pipeline import layout, methods, params
from pipeline.work import runtime, twins
from pipeline.work.networks import read_networks, tensors_of


def run(arm: str, state: int) -> None:
    """Make `data/evaluators/<arm>/<state>`, or take it over from an arm with the same segments and evaluators."""
    study, device = runtime.start()
    evaluators = methods.section(study, arm, "evaluator", Evaluators)
    seed, folder = params.value(study, "seed"), layout.evaluators(arm, state)
    real = read_split(layout.REAL, "train", device)
    segments = read_segments(layout.distilled(arm, state))
    warm = evaluators.start == "warm" and state >= 2
    before = trained(read_networks(layout.evaluators(arm, state - 1), evaluators, real)) if warm else []
    values, tensors = twins.described(segments)
    work = runtime.identity(
        values,
        state,
        seed,
        study["threads"],
        device,
        parts=[evaluators],
        code=(__name__,),
        tensors=[real.mean, real.std, *tensors, *tensors_of(before)],
    )
    own_entry = f"train-{arm}-{state}"
    with twins.sought(work, own_entry) as twin, runtime.ledger("train", own_entry, arm=arm) as entry:
        if twin is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for file in twin.files:
                shutil.copyfile(file, folder / file.name)
            twin.charge(entry)
        else:
            parts = shown_parts(segments, real, evaluators.images)
            networks = evaluators.train(parts, state, seed, previous=before)
            write_networks(folder, networks)
        twins.record(entry, work, sorted(folder.glob("*.safetensors")))
