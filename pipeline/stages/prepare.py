"""Read the data set, split it, and store it as arrays."""

from dasm.data import Dataset
from dasm.prepare import write_source
from pipeline import layout, params, runtime


def main() -> None:
    """Make `data/real`."""
    study, _ = runtime.start()
    with runtime.ledger("prepare", "prepare"):
        source = params.section(study, Dataset, "data").open(params.value(study, "seed"))
        write_source(layout.REAL, source, track=runtime.track("prepare"))
    runtime.log.info("%s images", ", ".join(f"{len(indices)} {split}" for split, indices in source.splits.items()))
