"""Read the data set, split it, and store it as arrays."""

from dasm.data import Dataset
from dasm.store import write_task
from pipeline import layout, params, runtime


def main() -> None:
    """Make `data/real`."""
    study, _ = runtime.start()
    with runtime.ledger("prepare", "prepare"):
        task = params.section(study, Dataset, "data").load(params.value(study, "seed"))
        write_task(layout.REAL, task)
    runtime.log.info(
        "%d training, %d validation, %d test images", len(task.train), len(task.validation), len(task.test)
    )
