"""The networks of a state, as the study's evaluators describe them."""

from pathlib import Path

from dasm.evaluators import Evaluators
from dasm.networks import Classifier
from dasm.tables import read_networks as read
from dasm.types import LabelledImages


def read_networks(folder: Path, evaluators: Evaluators, real: LabelledImages) -> list[list[Classifier]]:
    """Read the snapshots of every network of a state, on the device of the real set."""
    return read(
        folder,
        lambda: evaluators.trainer.start(real, 0).network,
        evaluators.networks,
        evaluators.snapshots,
    )
