"""Check every parameter before any work starts, and write down what every stage is made of."""

from pipeline import params
from pipeline.graph import blueprint, listing
from pipeline.graph.steady import check_settled
from pipeline.work.enough import check_prepared
from pipeline.work.given import check_given


def main() -> None:
    """Make `data/blueprint`, or say what is wrong with params.yaml in one line.

    If the images that are prepared are those of the study, one that has grown beyond them, or names networks that
    cannot see them or given sets that do not go with them, is refused.
    """
    study = params.read()
    code = blueprint.write(study)
    listing.check_watched(study)
    check_prepared(study)
    check_given(study)
    check_settled(study, code)
