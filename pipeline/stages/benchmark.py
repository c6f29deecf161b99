"""Train fresh networks on one prefix of one arm and test them on real images."""

from dasm.segments import decoded_parts
from dasm.store import read_task
from dasm.tables import read_chain, segment_files
from pipeline import layout, runtime
from pipeline.benchmarking import judge


def main(arm: str, state: str) -> None:
    """Make `data/results/<arm>/<state>.parquet`."""
    study, device = runtime.start()
    with runtime.ledger("benchmark", f"benchmark-{arm}-{state}", arm=arm):
        task = read_task(layout.REAL, device)
        chain = read_chain(segment_files(layout.distilled(arm, int(state))))
        segments = [segment for segment, _ in chain]
        identity = {
            "arm": arm,
            "prefix_ipc": sum(segment.ipc for segment in segments),
            "stored_images": sum(len(segment.labels) for segment in segments),
            "content": chain[-1][1]["content"],
        }
        judge(study, layout.results(arm, int(state)), decoded_parts(segments, task.train), task, identity)
