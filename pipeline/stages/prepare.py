"""Read the data set, split it, and store it as arrays."""

from dasm.data import Dataset
from dasm.errors import require
from dasm.images.prepare import write_images, write_source
from pipeline import layout, params
from pipeline.graph import listing
from pipeline.work import runtime
from pipeline.work.enough import check_sizes
from pipeline.work.fitting import check_networks


def main() -> None:
    """Make `data/real`, and `data/images.parquet`, which says where each of its training images comes from."""
    study, _ = runtime.start()
    with runtime.ledger("prepare", "prepare") as entry:
        data = params.section(study, Dataset, "data")
        entry["listing"] = listing.listing(study)
        source = data.open(params.value(study, "seed"))
        # Said now, not by the first arm, after minutes or hours.
        check_sizes(source.where, source.class_names, source.labels[source.splits["train"]], source.labels)
        check_networks(source.image_shape, len(source.class_names))
        write_source(layout.REAL, source, track=runtime.track("prepare"))
        write_images(layout.IMAGES, source)
        # DVC notes what it watches after the stage: a picture that came meanwhile would count as read, for good.
        same = listing.listing(study) == entry["listing"]
        require(same, "data: the files must stay as they are while they are read", "others at the end", "start again")
    runtime.log.info("%s images", ", ".join(f"{len(indices)} {split}" for split, indices in source.splits.items()))
