"""Check every parameter before any work starts, and write down what every stage is made of."""

from pipeline import blueprint, params


def main() -> None:
    """Make `data/blueprint`, or say what is wrong with params.yaml in one line."""
    blueprint.write(params.read())
