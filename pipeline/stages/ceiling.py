"""The upper line: the same networks, recipe and steps on the full training set."""

from dasm.images.store import read_task
from pipeline import layout
from pipeline.work import labelling, runtime
from pipeline.work.benchmarking import judge


def main() -> None:
    """Make `data/results/full.parquet`."""
    study, device = runtime.start()
    with runtime.ledger("ceiling", "ceiling", arm="full"):
        task = read_task(layout.REAL, device)
        identity = {"arm": "full", "prefix_ipc": 0, "stored_images": len(task.train)}
        judge(study, layout.FULL, [task.train], task, identity, labelling.read(study, task.train))
