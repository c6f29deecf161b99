"""Check every parameter before any work starts, and write down what every stage is made of."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from pipeline import params
from pipeline.graph import blueprint, listing, sets
from pipeline.graph.steady import check_settled
from pipeline.work.enough import check_prepared
from pipeline.work.given import check_given


def main() -> None:
    """Make `data/blueprint`, and say in one line what the study is, or what is wrong with params.yaml.

    If the images that are prepared are those of the study, one that has grown beyond them, or names networks that
    cannot see them or given sets that do not go with them, is refused.
    """
    study = params.read()
    code = blueprint.write(study)
    listing.check_watched(study)
    check_prepared(study)
    check_given(study)
    check_settled(study, code)
    print(said(study))


def said(study: Mapping[str, Any]) -> str:
    """Return in a line what a study without faults is going to compare."""
    ends, judged = [*accumulate(sets.sizes(study))], study["benchmark"]
    sizes = ", ".join(str(ends[state - 1]) for state in sorted(judged["states"]))
    networks = ", ".join(network["name"] for network in judged["networks"])
    whole = " in ".join(
        f"{number} {what}{'s' * (number != 1)}"
        for number, what in ((len(judged["arms"]), "arm"), (len(ends), "segment"))
    )
    return f"{study['study']}: nothing wrong; {whole}, judged at {sizes} images per class by {networks}"
