"""Check every parameter before any work starts, and write down what every stage is made of."""

from dasm.images.store import META, read_split
from pipeline import layout, params
from pipeline.graph import blueprint, listing
from pipeline.graph.steady import check_settled
from pipeline.work.enough import check_prepared
from pipeline.work.fitting import check_networks


def main() -> None:
    """Make `data/blueprint`, or say what is wrong with params.yaml in one line.

    If the images that are prepared are those of the study, one that has grown beyond them, or names networks that
    cannot see them, is refused.
    """
    study = params.read()
    code = blueprint.write(study)
    listing.check_watched(study)
    if listing.is_read(study) and (layout.REAL / META).exists():
        check_prepared("data")
        real = read_split(layout.REAL, "train")
        check_networks(study, real.image_shape, real.num_classes)
    check_settled(study, code)
