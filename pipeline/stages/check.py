"""Check every parameter before any work starts, and write down what every stage is made of."""

from pipeline import blueprint, listing, params
from pipeline.enough import check_prepared


def main() -> None:
    """Make `data/blueprint`, or say what is wrong with params.yaml in one line.

    Pictures that have changed since `prepare` read them are worth a warning; if these are still the ones, a study that
    has grown beyond them is refused.
    """
    study = params.read()
    blueprint.write(study)
    listing.warn(study)
    if listing.are_those_read(study):
        check_prepared("data")
