"""Check every parameter before any work starts, and write down what every stage is made of."""

from pipeline import blueprint, params
from pipeline.study import parse


def main() -> None:
    """Make `data/blueprint`, or say what is wrong with params.yaml in one line."""
    study = params.read()
    parse(study)
    blueprint.write(study)
