"""Read the data set, split it, and store it as arrays."""

from dasm.data import Dataset
from dasm.prepare import write_source
from pipeline import layout, params, runtime
from pipeline.fitting import check_networks


def main() -> None:
    """Make `data/real`."""
    study, _ = runtime.start()
    with runtime.ledger("prepare", "prepare"):
        source = params.section(study, Dataset, "data").open(params.value(study, "seed"))
        # Said now, not by the first benchmark, after everything has been distilled.
        check_networks(study, source.image_shape, len(source.class_names))
        write_source(layout.REAL, source, track=runtime.track("prepare"))
    runtime.log.info("%s images", ", ".join(f"{len(indices)} {split}" for split, indices in source.splits.items()))
