"""Train fresh networks on one prefix of one arm and test them on real images."""

from dasm.errors import require
from dasm.images.store import read_task
from dasm.segments import decoded_parts
from dasm.storage.results import pass_on
from dasm.tables import read_chain, segment_files
from pipeline import layout, params
from pipeline.work import labelling, runtime, twins
from pipeline.work.benchmarking import judge, judges
from pipeline.work.networks import tensors_of


def main(arm: str, state: int) -> None:
    """Make `data/results/<arm>/<state>.parquet`; of a set that another arm has too, from that arm's."""
    study, device = runtime.start()
    path, task = layout.results(arm, state), read_task(layout.REAL, device)
    chain = read_chain(segment_files(layout.distilled(arm, state)))
    require(bool(chain), f"{layout.distilled(arm, state)}: must hold a set to judge", "none")
    segments = [segment for segment, _ in chain]
    values, tensors = twins.described(segments)
    real = [tensor for split in (task.validation, task.test) for tensor in (split.images, split.labels)]
    teacher = labelling.read(study, task.train)
    work = runtime.identity(
        values,
        params.value(study, "seed"),
        study["threads"],
        device,
        parts=judges(study),
        code=(__name__,),
        tensors=[task.train.mean, task.train.std, *real, *tensors, *tensors_of([teacher] if teacher else [])],
    )
    own_entry = f"benchmark-{arm}-{state}"
    with twins.sought(work, own_entry) as twin, runtime.ledger("benchmark", own_entry, arm=arm) as entry:
        identity = {
            "arm": arm,
            "prefix_ipc": sum(segment.ipc for segment in segments),
            "stored_images": sum(len(segment.labels) for segment in segments),
            "content": chain[-1][1]["content"],
        }
        if twin is not None:
            pass_on(twin.files[0], path, identity, {"arm": arm})
            twin.charge(entry)
        else:
            judge(study, path, decoded_parts(segments, task.train), task, identity, teacher)
        twins.record(entry, work, [path])
